-- A checkpoint commits to the shard's whole record: entries, verdict lines, and where it ends. So each range has one.

DO $$
BEGIN
    IF EXISTS (SELECT FROM ranges) THEN
        RAISE EXCEPTION 'this ledger has ranges of an earlier build, whose checkpoints do not commit to verdicts'
            USING HINT = 'make it anew: `finance replay --into` an empty database';
    END IF;
END $$;

ALTER TABLE ranges ADD COLUMN verdict_tree bytea NOT NULL;      -- compact range of the verdict lines below next_offset

ALTER TABLE checkpoints ADD COLUMN next_offset bigint NOT NULL; -- settlements offset where the record ends, exclusive
ALTER TABLE checkpoints DROP CONSTRAINT checkpoints_pkey;
ALTER TABLE checkpoints ADD PRIMARY KEY (shard, next_offset);
