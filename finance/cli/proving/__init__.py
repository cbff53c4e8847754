"""Proofs: prove, verify (archive_check, verify_source: beside the topics), trusted: the registry to go by."""
