"""The rules of the ledger: the same input gives the same bytes. No I/O, no clock, no environment (but `postgres/`).

books     what is booked: money, accounts, lines, entries, settlement events, sales
signing   signatures, signed statements, the signer registry, when a key counts, rotations
posting   from a settlement event to its verdict and its place in the chain
proving   a range opens, is cut, closes, is proved; checkpoints
archive   a proved range as an object: batch, manifest, listing        audit     the audit chain
verify    the oracle: recomputes everything, reports what differs       recovery  rules of rebuild and replay
reading   what can be asked, and how pages work   bundle  one file for an auditor   payouts  their states
postgres  the one door to the database
At the root stands what every room uses: errors, findings, ports, times, decimals, canonical, hashes,
normal_form, chain, tree, proof_ids.
"""
