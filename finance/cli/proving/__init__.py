"""Proofs: prove, verify (archive_check, verify_source: beside the topics; verify_page: in a browser), trusted: by which
registry."""
