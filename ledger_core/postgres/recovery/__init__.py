"""What recovery reads and writes.

epochs                        how this ledger came to stand here
rebuild_state, rebuild_store  before a rebuild; its rows
replay_target, verdict_log    the database that a replay fills; who came first
recorded_verdicts             what a replay asks of verdicts on record
fill_store                    what the archive leaves out
drills, replication           drills on record; the server as a backup sees it
"""
