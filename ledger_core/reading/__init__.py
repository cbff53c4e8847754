"""The read side's rules: what a projection of the journal contains, and how it is asked.

rows      an entry as the projection keeps it: without free texts or personal data; compare: with its own bytes
fold      journal records in, rows out: chain and balance are checked on the way
verdicts  what became of events that posted nothing, from the outcomes topic
links     where proofs and objects are, from the audit topic
known     since when the ledger knows an entry, and up to when that can be answered
blocks    sums of full blocks of lines, which never change: a balance as of two moments in a bounded read
chunks    keys by which entries are found, close together while they are written
ageing    what of a payable is open, and for how long
story     what a settlement or an order came to; reversals: whether more was taken back than came
tokens    where a page goes on; the position that an answer reaches; reach: how far a projection has come
"""
