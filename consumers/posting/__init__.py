"""The poster.

poster             one batch of one shard, one transaction
decision           one record -> draft or rejection
batch_pieces       batches of bounded weight
batch_transaction  what poster and replay share around that transaction
relay              publishes what was posted; relay_backlog: what the topics may lack
retelling          after a restore, what was reported; first_verdicts: who came first
dead_letter_limit  a bad deploy upstream must stop its shard; stops: why a shard stands still
batch_report       what a batch is to whoever watches
"""
