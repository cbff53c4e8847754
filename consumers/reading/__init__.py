"""The projector: the journal becomes the projection that answers questions.

projector  one batch of one shard, one transaction
"""
