"""The guards of a start: functions from what was given (settings, or an answer) to faults. They refuse, never repair.

model            what guards are given and what they return
settings_guards  the guards that need no network; address_guards: those of addresses; file_guards: of files
secret_rules, der_keys  what a secret looks like
probes           the guards that ask a server
proxy_guards     the guards of the signing proxy
startup          the guards of one process, before it touches anything
commands         those of a command
checklist        all of them at any time: `finance doctor`
"""
