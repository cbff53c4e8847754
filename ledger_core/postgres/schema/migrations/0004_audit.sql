-- State changes write an intent into the outbox in their own transaction; the notary alone turns intents into the
-- signed chain that Kernel reads. Rows leave the outbox when they are on the chain, so no commit order can lose one.

CREATE TABLE audit_outbox (
    outbox_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_type text  NOT NULL,
    actor_id   text  NOT NULL,
    payload    jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    trace_id   text  NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE audit_events (          -- Kernel's columns and types: see docs/KERNEL.md
    id         text   PRIMARY KEY,
    seq        bigint NOT NULL UNIQUE CHECK (seq >= 1),
    actor_id   text   NOT NULL,
    event_type text   NOT NULL,
    payload    jsonb  NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
    prev_hash  text,
    hash       text   NOT NULL UNIQUE,
    signature  text   NOT NULL,
    signer_kid text   NOT NULL,
    created_at timestamptz NOT NULL UNIQUE,
    CHECK ((seq = 1) = (prev_hash IS NULL)),
    CHECK (hash ~ '^[0-9a-f]{64}$')
);

CREATE TABLE notary_cursor (         -- one row: how far finance.audit has been published
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    published_seq bigint NOT NULL DEFAULT 0
);
INSERT INTO notary_cursor DEFAULT VALUES;

CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
