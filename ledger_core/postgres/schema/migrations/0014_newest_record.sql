-- The newest record that a shard has read, whatever became of it. A topic that was put back and filled anew may still have
-- the newest *entry*'s record, and other records behind it. NULL before the first batch of this version, and where a
-- rebuild has not read a record yet: then the newest entry's record is compared.
ALTER TABLE shards
    ADD COLUMN newest_record_offset bigint,
    ADD COLUMN newest_record_ms     bigint,     -- its append time; -1 when a publisher chose it
    ADD COLUMN newest_record_sha256 bytea,      -- over key and value (ledger_core.posting.newest_record)
    ADD CONSTRAINT shards_newest_record_whole
        CHECK (num_nulls(newest_record_offset, newest_record_ms, newest_record_sha256) IN (0, 3)),
    ADD CONSTRAINT shards_newest_record_read
        CHECK (newest_record_offset < next_offset AND octet_length(newest_record_sha256) = 32);
GRANT UPDATE (newest_record_offset, newest_record_ms, newest_record_sha256) ON shards TO finance_poster;
