-- Checkpoints apart from ranges, and the trees behind them in tiles of 256 hashes (C2SP tlog-tiles), so that a path to
-- any root is found by some forty rows.

CREATE TABLE tiles (
    shard   integer  NOT NULL,
    tree    text     NOT NULL CHECK (tree IN ('entries', 'verdicts')),
    level   smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    tile_no bigint   NOT NULL CHECK (tile_no >= 0),
    hashes  bytea    NOT NULL CHECK (octet_length(hashes) = 8192),      -- full ones alone
    PRIMARY KEY (shard, tree, level, tile_no)
);
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;             -- hashes do not compress
CREATE TRIGGER tiles_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tiles
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

CREATE TABLE tile_edges (           -- what stands behind the last full tile of each level
    shard   integer  NOT NULL,
    tree    text     NOT NULL CHECK (tree IN ('entries', 'verdicts')),
    level   smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    tile_no bigint   NOT NULL CHECK (tile_no >= 0),
    hashes  bytea    NOT NULL CHECK (octet_length(hashes) < 8192 AND octet_length(hashes) % 32 = 0),
    PRIMARY KEY (shard, tree, level)
);
ALTER TABLE tile_edges ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE live_checkpoints (     -- the newest one of each shard that was signed between ranges, or at their ends
    shard         integer PRIMARY KEY,
    tree_size     bigint  NOT NULL CHECK (tree_size >= 0),
    verdict_count bigint  NOT NULL CHECK (verdict_count >= 0),
    next_offset   bigint  NOT NULL,                                     -- where its record ends, exclusive
    note          bytea   NOT NULL,                                     -- the signed note
    signed_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_TABLE_NAME = 'live_checkpoints' THEN
        IF NEW.shard <> OLD.shard OR NEW.tree_size < OLD.tree_size OR NEW.verdict_count < OLD.verdict_count
           OR NEW.next_offset <= OLD.next_offset THEN
            RAISE EXCEPTION 'a live checkpoint gives way to a later one alone' USING ERRCODE = 'check_violation';
        END IF;
    ELSIF (NEW.shard, NEW.tree, NEW.level) <> (OLD.shard, OLD.tree, OLD.level)
       OR (NEW.tile_no, octet_length(NEW.hashes)) < (OLD.tile_no, octet_length(OLD.hashes))
       OR (NEW.tile_no = OLD.tile_no AND substr(NEW.hashes, 1, octet_length(OLD.hashes)) <> OLD.hashes) THEN
        RAISE EXCEPTION 'the edge of a tree only grows' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['tile_edges', 'live_checkpoints'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION only_grows()',
                       t || '_only_grows', t);
        EXECUTE format('CREATE TRIGGER %I BEFORE DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_stay', t);
        EXECUTE format('GRANT SELECT ON %I TO finance_prover, finance_api, finance_auditor', t);
    END LOOP;
END $$;

GRANT SELECT, INSERT ON tiles TO finance_prover;
GRANT SELECT ON tiles TO finance_archiver, finance_api, finance_auditor;
GRANT INSERT, UPDATE (tile_no, hashes) ON tile_edges TO finance_prover;
GRANT INSERT (shard, tree_size, verdict_count, next_offset, note), UPDATE (tree_size, verdict_count, next_offset, note, signed_at)
   ON live_checkpoints TO finance_prover;
