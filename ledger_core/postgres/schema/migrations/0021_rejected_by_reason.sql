-- `finance dlq list` and its counts read no more of the verdicts than they show, however many duplicates, and markers of
-- publishers' transactions, stand between them.
CREATE INDEX verdicts_rejected ON verdicts (reason, shard, source_offset DESC) WHERE verdict = 'rejected';
