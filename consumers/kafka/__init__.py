"""Reading topics.

source            what a service asks of a reader; group_source: with a consumer group
partition_reader  one partition to a fixed end; topic_reader: records at given offsets
watermarks        how much waits; journal_end: how far the journal goes
topic_identity    is this still the topic we read?
journal_records   the records of the journal topic
failures          what an error of the client means
"""
