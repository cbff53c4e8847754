-- Every life of a database is an epoch: a ledger that was put back says so for ever (ARCHITECTURE, "Recovery").

CREATE TABLE epochs (
    epoch_no integer     PRIMARY KEY CHECK (epoch_no >= 1),      -- gapless; the newest one is the life it lives now
    epoch_id text        NOT NULL UNIQUE,                        -- uuid
    kind     text        NOT NULL CHECK (kind IN ('genesis', 'replay', 'rebuild', 'restore', 'what-if')),
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_id text        NOT NULL,
    reason   text        NOT NULL,
    heads    jsonb       NOT NULL CHECK (jsonb_typeof(heads) = 'array'),
    -- heads: of every shard as the epoch began, [{shard, seq, next_offset, head_hash}]; what grows is decimal text
    CHECK ((epoch_no = 1) = (kind = 'genesis'))
);

-- A database that holds shards already was made before epochs were: its genesis says where that stood.
INSERT INTO epochs (epoch_no, epoch_id, kind, actor_id, reason, heads)
SELECT 1, gen_random_uuid()::text, 'genesis', 'service:migrate', 'the database was made',
       coalesce((SELECT jsonb_agg(jsonb_build_object('shard', shard, 'seq', seq::text, 'next_offset', next_offset::text,
                                                     'head_hash', encode(head_hash, 'hex')) ORDER BY shard)
                   FROM shards), '[]');

CREATE TRIGGER epochs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON epochs
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- What-if is for ever: what was posted by other rules never becomes the ledger.
CREATE FUNCTION epochs_follow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE newest epochs;
BEGIN
    SELECT * INTO newest FROM epochs ORDER BY epoch_no DESC LIMIT 1;
    IF NEW.epoch_no <> newest.epoch_no + 1 OR (newest.kind = 'what-if' AND NEW.kind <> 'what-if') THEN
        RAISE EXCEPTION 'epoch % (%) cannot follow epoch % (%)', NEW.epoch_no, NEW.kind, newest.epoch_no, newest.kind
            USING ERRCODE = 'check_violation', CONSTRAINT = 'epochs_follow';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER epochs_follow BEFORE INSERT ON epochs FOR EACH ROW EXECUTE FUNCTION epochs_follow();

-- Only the owner begins an epoch: whoever puts a ledger back is the owner anyway. Every process reads it.
GRANT SELECT ON epochs TO finance_poster, finance_prover, finance_archiver, finance_notary, finance_api, finance_auditor;
