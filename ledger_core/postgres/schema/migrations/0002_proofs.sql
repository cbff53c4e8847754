-- Ranges are closed (written down) before they are signed, so that a retry signs the same bytes (DESIGN, section 5).

CREATE TABLE ranges (
    shard           integer NOT NULL,
    range_no        bigint  NOT NULL CHECK (range_no >= 1),      -- gapless per shard
    first_seq       bigint  NOT NULL,
    last_seq        bigint  NOT NULL,                            -- first_seq - 1 when the offsets posted nothing
    first_offset    bigint  NOT NULL,
    next_offset     bigint  NOT NULL,
    payload         bytea   NOT NULL,                            -- canonical payload of the range proof, unsigned
    hash            bytea   NOT NULL CHECK (octet_length(hash) = 32),
    checkpoint_text bytea   NOT NULL,                            -- the C2SP note text, unsigned
    tree            bytea   NOT NULL,                            -- compact range at last_seq: n * 32 bytes, left to right
    head_hash       bytea   CHECK (octet_length(head_hash) = 32),
    journal_offset  bigint  NOT NULL,                            -- in finance.journal: first record after the range
    closed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, range_no),
    UNIQUE (shard, first_offset),
    CHECK (last_seq >= first_seq - 1),
    CHECK (next_offset > first_offset)
);

CREATE TABLE proofs (
    proof_id  text    PRIMARY KEY,
    shard     integer,                                           -- NULL: asked for by an operator, over any shards
    range_no  bigint,
    proof     bytea   NOT NULL,                                  -- the signed range proof, canonical JSON
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (shard, range_no),
    FOREIGN KEY (shard, range_no) REFERENCES ranges (shard, range_no)
);

CREATE TABLE checkpoints (
    shard     integer NOT NULL,
    tree_size bigint  NOT NULL,
    note      bytea   NOT NULL,                                  -- the signed note, C2SP tlog-checkpoint
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, tree_size)
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['ranges', 'proofs', 'checkpoints'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
    END LOOP;
END $$;
