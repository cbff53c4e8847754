"""Reading topics.

source            what a service asks of a reader; group_source: with a consumer group
bounded_read      by weight, not by number
partition_reader  one partition to a fixed end; topic_reader: records at given offsets
positions         what waits in front of a reader; in_order: what comes twice
watermarks        how far a topic goes; journal_end: how far the journal does
topic_identity    is this still the topic we read? topic_watch: when that is asked again
holes             offsets without a record, explained; log_batches: what the log has there
client_settings   what every reader asks of its client
journal_records   the records of the journal topic; reported_outcomes: what was reported
failures          what an error of the client means
"""
