"""Changing keys, by an operator.

desk          who changes the registry, and what they see before
key_choice    a key that the settings do not sign with yet; key_creation makes one
rotation      begin, deploy, prove, finish, rollback
changes       add, retire, revoke, emergency (approvals: its second person); reach: how far a key signed
proofs        proofs about keys; check: do all places agree; registry_branch: a commit for review
"""
