"""The world in memory: every port of the route, kept in lists, able to fail at any call.

`faults` is the one injector: a call fails before its effect (not applied) or after it (applied, but unheard of).
`ledger` is the database, as posters write it and the oracle reads it; `posting` a poster's session with it, and
`tiny_shards` fills it with whole shards. `kafka` holds partitions, a group's member and a publisher. `proving` has the
prover's tables and signers, `archive` the archiver's and a bucket that locks, `place` a place for backups. `checks`
says what must hold whatever happened.
"""
