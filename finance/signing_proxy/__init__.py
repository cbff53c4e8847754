"""`finance signing-proxy`: a small service before a KMS, HSM or transit engine, for callers that may not hold its keys.

Guarantees: it signs 32-byte digests and notes for callers that door.yaml names, with keys that it lets them use, and
answers nothing that the registered key has not verified; what it is asked stands in its own hash-chained log, on disk,
before the key is asked, and what it signed before the answer leaves; a witness signs no log that shrank or forked.

    requests.py     a body -> what is to be signed. Pure
    witness.py      is this checkpoint consistent with the last one? Pure, and the file that remembers
    request_log.py  the append-only log; log_verify.py checks it
    service.py      the routes; setup.py puts it together

Does not: know what a digest stands for, hold a database or read Kafka; outside the door's memory and two files it has
no state, so several may stand side by side, each with its own log. A witness must stand alone.
"""
