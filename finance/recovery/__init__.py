"""The way back, by an operator.

rebuild, rebuild_worker    from the archive
replay_into, replay_worker, replay_beside   from the topic: into a database, or compared
worker_pool                shards in processes of their own, for both
replay_checks, replay_compare, replay_sources   before, after, and against what
backup                     base backups, WAL, point in time
drill                      all of it, rehearsed and signed
"""
