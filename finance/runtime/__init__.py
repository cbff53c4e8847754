"""One process and its life.

process        one of them                   supervisor    all of them (`run all`)
watchdog       ends one that hangs           registry_watch, tls_watch   files that change
workshop_door   the one way to the workshop
"""
