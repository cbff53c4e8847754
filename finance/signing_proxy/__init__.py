"""`finance signing-proxy`: signatures for callers that may not hold the keys of a KMS, HSM or transit engine.

requests     a body -> what is to be signed. Pure
witness      is this checkpoint consistent with the last one? Pure, and the file that remembers
request_log  the append-only log: log_file (its parts), log_seal (a MAC over its head), log_verify (checks it)
turns        whose turn it is at a key
service      the routes, in the order that makes them safe
setup        a proxy from settings; several may stand side by side, but a witness must stand alone
"""
