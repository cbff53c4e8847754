"""Base backups, and what is done with what a place holds.

create, pages            a base backup; the server's own list of its files
plan, restore, cluster   a moment -> what it needs -> a directory -> a running server
retention, verify        what may go; is everything there?
"""
