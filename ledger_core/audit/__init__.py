"""The audit chain: every change of state as a signed, hash-chained event in Kernel's format.

events       the event, its hash, the next one
event_types  the closed list of types: who leaves each, and its form
admission    what may be chained; words for the chain
set_aside    events that an operator set aside
sources      the chain read out of what holds it; two copies side by side
state        what a run of events adds up to
export       a range of the chain as an archive object
"""
