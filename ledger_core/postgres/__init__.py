"""The one fenced door to the database: SQL beside its code, a folder a noun.

session, connection   how commands and how services connect; stalled: who keeps a lock and gets nowhere
holders               who has what this session needs, in words
schema, jobs          migrations, roles, bounds, the guard; who does what one session at a time may do
posting, proving, archive, audit, personal   what each process reads and writes
payouts               what operators decided about money for sellers
verify, recovery, signing, reading what the oracle, recovery, key changes and commands ask
"""
