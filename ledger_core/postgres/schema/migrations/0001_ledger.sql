-- The ledger: one hash chain per shard (= partition of the settlements topic). Everything of a shard is keyed by the
-- shard first, so that shards share no hot row and may later live on different servers.

CREATE TABLE control (              -- one row: the halt flag (G10)
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    halted     boolean NOT NULL DEFAULT false,
    reason     text,
    actor_id   text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (NOT halted OR reason IS NOT NULL)
);
INSERT INTO control DEFAULT VALUES;

CREATE TABLE shards (
    shard          integer PRIMARY KEY CHECK (shard >= 0),
    topic          text    NOT NULL,
    first_offset   bigint  NOT NULL CHECK (first_offset >= 0),
    next_offset    bigint  NOT NULL,                 -- of the settlements partition: the poster's only cursor
    seq            bigint  NOT NULL DEFAULT 0,       -- newest entry; 0 at genesis
    head_hash      bytea   CHECK (octet_length(head_hash) = 32),
    accounts       integer NOT NULL DEFAULT 0,       -- accounts opened so far; the newest account_no
    posted         bigint  NOT NULL DEFAULT 0,
    duplicates     bigint  NOT NULL DEFAULT 0,
    rejected       bigint  NOT NULL DEFAULT 0,
    relayed_offset bigint  NOT NULL,                 -- everything below was published to journal, outcomes and dlq
    changed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (posted = seq),
    CHECK ((seq = 0) = (head_hash IS NULL)),
    CHECK (posted + duplicates + rejected = next_offset - first_offset),   -- G3, every offset accounted for
    CHECK (relayed_offset BETWEEN first_offset AND next_offset)
);

CREATE TABLE entries (
    shard         integer     NOT NULL,
    seq           bigint      NOT NULL,
    event_id      uuid        NOT NULL,
    source_offset bigint      NOT NULL,
    recorded_at   timestamptz NOT NULL,
    entry_hash    bytea       NOT NULL,
    body          bytea       NOT NULL,              -- canonical JSON: the bytes that are chained
    PRIMARY KEY (shard, seq),
    CONSTRAINT entries_event_id_key UNIQUE (event_id)
);
ALTER TABLE entries ALTER COLUMN body SET STORAGE EXTERNAL;       -- never spend CPU on compressing what is chained
CREATE INDEX entries_recorded_at ON entries USING brin (recorded_at) WITH (pages_per_range = 32);

CREATE TABLE accounts (
    shard      integer NOT NULL,
    account_no integer NOT NULL,                     -- order of first use in the shard's chain: the same at every replay
    account    text    NOT NULL,
    PRIMARY KEY (shard, account_no),
    CONSTRAINT accounts_account_key UNIQUE (shard, account)
);

CREATE TABLE lines (
    shard        integer  NOT NULL,
    seq          bigint   NOT NULL,
    line_no      smallint NOT NULL,                  -- from 1, the order in the entry
    account_no   integer  NOT NULL,
    side         smallint NOT NULL CHECK (side IN (-1, 1)),     -- debit 1, credit -1
    amount_minor bigint   NOT NULL CHECK (amount_minor > 0),
    currency     character(3) NOT NULL,
    PRIMARY KEY (shard, seq, line_no)
);

CREATE TABLE balances (
    shard      integer NOT NULL,
    account_no integer NOT NULL,
    currency   character(3) NOT NULL,
    debits     numeric(38, 0) NOT NULL CHECK (debits >= 0),      -- minor units
    credits    numeric(38, 0) NOT NULL CHECK (credits >= 0),
    PRIMARY KEY (shard, account_no, currency)
) WITH (fillfactor = 50);                            -- room for HOT updates: a balance changes all day long

CREATE TABLE verdicts (             -- one row for each offset that posted nothing (G3)
    shard         integer NOT NULL,
    source_offset bigint  NOT NULL,
    verdict       text    NOT NULL CHECK (verdict IN ('duplicate', 'rejected')),
    reason        text    NOT NULL,
    event_id      uuid,
    content_hash  bytea   CHECK (octet_length(content_hash) = 32),
    first_verdict boolean NOT NULL,                  -- this row is the verdict its event id got for ever
    detail        text    NOT NULL,                  -- for people: never part of what is proved
    line          bytea   NOT NULL,                  -- canonical verdict line: what is archived and proved
    PRIMARY KEY (shard, source_offset)
);
-- G2: one event id, one verdict. Repeats and conflicts about it are recorded, but never a second first verdict.
CREATE UNIQUE INDEX verdicts_first_verdict ON verdicts (event_id) WHERE first_verdict;

CREATE TABLE dead_letters (         -- the original of every rejected record, published to the dlq topic by the relay
    shard         integer NOT NULL,
    source_offset bigint  NOT NULL,
    topic         text    NOT NULL,
    timestamp_ms  bigint  NOT NULL,
    key           bytea,
    value         bytea,
    headers       jsonb   NOT NULL DEFAULT '[]',     -- [[name, base64 value or null], ...]
    PRIMARY KEY (shard, source_offset)
);

CREATE TABLE pii (                  -- never in an entry: the entry holds SHA256(canonical(pii) || salt)
    shard integer NOT NULL,
    seq   bigint  NOT NULL,
    pii   bytea   NOT NULL,
    salt  bytea   NOT NULL,
    PRIMARY KEY (shard, seq)
);

-- G1 in the database: lines of an entry arrive in one statement and balance in every currency.
CREATE FUNCTION lines_must_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE bad record;
BEGIN
    SELECT shard, seq, currency, sum(side * amount_minor) AS difference INTO bad
      FROM new_lines GROUP BY shard, seq, currency HAVING sum(side * amount_minor) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'unbalanced entry: shard %, seq %, % off by %', bad.shard, bad.seq, bad.currency, bad.difference
            USING ERRCODE = 'check_violation', CONSTRAINT = 'lines_must_balance';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER lines_must_balance AFTER INSERT ON lines
    REFERENCING NEW TABLE AS new_lines FOR EACH STATEMENT EXECUTE FUNCTION lines_must_balance();

-- G4 in the database: nothing that was posted changes or goes, whoever asks.
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['entries', 'lines', 'accounts', 'verdicts', 'dead_letters'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
    END LOOP;
END $$;

-- A shard's head only grows.
CREATE FUNCTION shards_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.shard <> OLD.shard OR NEW.topic <> OLD.topic OR NEW.first_offset <> OLD.first_offset
       OR NEW.next_offset < OLD.next_offset OR NEW.seq < OLD.seq OR NEW.accounts < OLD.accounts
       OR (NEW.seq = OLD.seq AND NEW.head_hash IS DISTINCT FROM OLD.head_hash)
       OR NEW.duplicates < OLD.duplicates OR NEW.rejected < OLD.rejected OR NEW.relayed_offset < OLD.relayed_offset THEN
        RAISE EXCEPTION 'a shard only grows: % of shard % refused', TG_OP, OLD.shard USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER shards_only_grow BEFORE UPDATE OR DELETE ON shards FOR EACH ROW EXECUTE FUNCTION shards_only_grow();
CREATE TRIGGER shards_never_emptied BEFORE TRUNCATE ON shards FOR EACH STATEMENT EXECUTE FUNCTION append_only();
