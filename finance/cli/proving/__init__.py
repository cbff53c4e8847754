"""Proofs: prove, verify."""
