"""The world in memory: every port of the route, kept in lists, able to fail at any call.

`faults` is the one injector: it fails a call before its effect (not applied) or after it (applied, but unheard of);
`failing` puts it before one call of any port. `posting` holds topics, publisher and the poster's store, `proving` the
prover's tables and signers, `archive` the archiver's tables and a bucket that locks, `place` a place for backups.
`rows` is a ledger as `verify` reads it, every row editable; `checks` says what must hold whatever happened.
"""
