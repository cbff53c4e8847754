"""Recovery drills: restore the ledger from one of its copies, prove it again, and sign what came of it.

run        a drill from its first question to its place on the audit chain
live       where the live ledger stands; scratch: a server to restore into
ways       archive, topic, point in time, each by the functions of its command
judge      the oracle, every published proof made again, the live ledger beside it
keys       each key still verifies what it signed
report     the signed report; page: the same for people
leftovers  what a killed drill left
"""
