"""Payouts in the database: rows of what operators decided; triggers judge each of them (migration 0086).

requests   what was asked for, approved, rejected, released, and what became of it
desk       asking, approving and closing: each in one transaction, against what the payee is owed
holds      payees whose payouts wait          approvers  who may approve, and from which amounts on
"""
