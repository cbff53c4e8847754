"""Proofs: prove, verify (archive_check: the archive beside the audit topic)."""
