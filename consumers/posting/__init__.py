"""The poster.

poster             one batch of one shard, one transaction
decision           one record -> draft or rejection
batch_pieces       batches of bounded weight
relay              publishes what was posted; relay_backlog: what the topics may lack
dead_letter_limit  a bad deploy upstream must stop posting
"""
