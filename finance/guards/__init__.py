"""The guards of a start: one list, each a function from what was given (settings, or an answer) to faults.

`settings_guards` need no network, `probes` do; `startup` runs those of a process before it touches anything, and
`checklist` all of them at any time (`finance doctor`). Guards refuse, they do not repair.
"""
