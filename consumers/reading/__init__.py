"""The projector: the journal becomes the projection that answers questions.

projector       the process; the journal: one batch of one shard, one transaction
further_topics  outcomes and audit events, by follower: one topic, one cursor a partition
sound_part      of a batch in which something is wrong, what stands before it
rebuild         the same from the beginning, beside the projection that is asked
silence         up to when nothing more can come of a shard
"""
