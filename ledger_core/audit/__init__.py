"""The audit chain: every change of state as a signed, hash-chained event in Kernel's format.

events   the event, its hash, the next one
sources  the chain read out of what holds it; two copies side by side
state    what a run of events adds up to
export   a range of the chain as an archive object
"""
