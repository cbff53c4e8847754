"""The front doors.

cli            one command line, grouped as people work
settings       what the environment says        wiring     puts adapters together, and alone names them
runtime        one process and its life         telemetry  metrics, health, log lines
door, guards   who may come in; what refuses a start
signing        keys and their registry          signing_proxy  signatures for others
recovery       rebuild, replay, backup, drill   verifier_page  verify.html, a second verifier
workshop       development only: dev stack, demo, guardrails, compile
"""
