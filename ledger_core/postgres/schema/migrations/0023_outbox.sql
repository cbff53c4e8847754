-- What may be left in the audit outbox: of which type, by whom, in what form. ledger_core/audit/event_types.py says the same
-- (a test compares the two); the notary asks again, because the owner may leave what it likes.

-- Types that a role leaves by itself; the events of halts are left by the triggers of migration 0022.
CREATE FUNCTION audit_event_types() RETURNS TABLE (event_type text, actor text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('journal.posted', 'prover'), ('journal.adopted', 'prover'), ('proof.published', 'prover'),
           ('audit_export.completed', 'archiver'),
           ('proof.published', 'operator'), ('dead_letter.retried', 'operator'), ('archive.lock_decided', 'operator'),
           ('audit.set_aside', 'operator'), ('drill.completed', 'operator'),
           ('signer.created', 'operator'), ('signer.registered', 'operator'), ('signer.rotation', 'operator'),
           ('signer.retired', 'operator'), ('signer.revoked', 'operator'), ('signer.emergency', 'operator')
$$;
CREATE FUNCTION may_leave(asked_type text, asked_actor text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM public.audit_event_types() t WHERE t.event_type = asked_type AND t.actor = asked_actor)
$$;

-- Nobody chooses an id or a time, and who leaves nothing by itself may insert nothing.
REVOKE INSERT ON audit_outbox FROM finance_poster, finance_prover, finance_archiver, finance_notary, finance_api;
GRANT INSERT (event_type, actor_id, payload, trace_id) ON audit_outbox TO finance_prover, finance_archiver, finance_api;
DROP POLICY outbox_in_its_own_name ON audit_outbox;
DROP POLICY outbox_in_no_service_name ON audit_outbox;
CREATE POLICY outbox_of_processes ON audit_outbox FOR INSERT TO finance_prover, finance_archiver
    WITH CHECK (actor_id = 'service:' || substr(current_user::text, 9)                 -- finance_<process>
                AND may_leave(event_type, substr(current_user::text, 9)));
CREATE POLICY outbox_of_operators ON audit_outbox FOR INSERT TO finance_api
    WITH CHECK (starts_with(actor_id, 'operator:') AND may_leave(event_type, 'operator'));

-- What no chain can hold. NOT VALID: what waits already is judged by the notary. Numbers: whole, up to 15 digits.
ALTER TABLE audit_outbox
    ADD CONSTRAINT outbox_names CHECK (
        octet_length(event_type) BETWEEN 1 AND 100 AND octet_length(actor_id) BETWEEN 1 AND 200
        AND octet_length(trace_id) <= 200 AND event_type || actor_id || trace_id !~ '[<>&]') NOT VALID,
    ADD CONSTRAINT outbox_payload_size CHECK (octet_length(payload::text) <= 98304) NOT VALID,
    ADD CONSTRAINT outbox_payload_texts CHECK (payload::text !~ '[<>&]') NOT VALID,
    ADD CONSTRAINT outbox_payload_reserved CHECK (
        NOT payload ?| ARRAY['actor_id', 'created_at', 'event_type', 'id', 'seq', 'trace_id']) NOT VALID,
    ADD CONSTRAINT outbox_payload_numbers CHECK (
        regexp_replace(payload::text, '"(?:[^"\\]|\\.)*"', '', 'g') !~ '[.]|[0-9]{16}') NOT VALID;

-- The words of a halt are a process's own, and a halt is never refused for them: three characters are spelled otherwise.
CREATE OR REPLACE FUNCTION halts_leave_an_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('ledger.halted', translate(NEW.actor_id, '<>&', '＜＞＆'),
            jsonb_strip_nulls(jsonb_build_object('reason', translate(NEW.reason, '<>&', '＜＞＆'), 'shard', NEW.shard)),
            translate(NEW.trace_id, '<>&', '＜＞＆'));
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION lifting_leaves_an_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id)
    SELECT DISTINCT 'ledger.resumed', translate(actor_id, '<>&', '＜＞＆'),
           jsonb_build_object('reason', translate(reason, '<>&', '＜＞＆')), translate(trace_id, '<>&', '＜＞＆')
      FROM new_rows;
    RETURN NULL;
END $$;

-- What cannot be chained is set apart, with an event that says so in the same transaction, and what is behind it goes on.
CREATE TABLE refused_intents (
    outbox_id  bigint PRIMARY KEY,
    event_type text   NOT NULL,
    actor_id   text   NOT NULL,
    payload    jsonb  NOT NULL,
    trace_id   text   NOT NULL,
    created_at timestamptz NOT NULL,
    reason     text   NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    refused_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER refused_intents_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON refused_intents
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
GRANT SELECT ON refused_intents TO finance_api, finance_auditor;

CREATE FUNCTION refuse_intents(refused bigint[], reasons text[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM public.audit_outbox WHERE outbox_id = ANY (refused) RETURNING *),
         kept AS (INSERT INTO public.refused_intents (outbox_id, event_type, actor_id, payload, trace_id, created_at, reason)
                  SELECT g.outbox_id, g.event_type, g.actor_id, g.payload, g.trace_id, g.created_at, w.reason
                    FROM gone g JOIN unnest(refused, reasons) AS w (outbox_id, reason) USING (outbox_id)
                  RETURNING 1)
    SELECT count(*) FROM kept
$$;

-- An event that an operator set aside announces nothing, unless this database holds the very range that it announces.
CREATE INDEX audit_events_set_aside ON audit_events (seq) WHERE event_type = 'audit.set_aside';
CREATE FUNCTION is_set_aside(asked_seq bigint, asked_hash text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT 1 FROM public.audit_events s
         WHERE s.event_type = 'audit.set_aside' AND starts_with(s.actor_id, 'operator:') AND s.seq > asked_seq
           AND s.payload ->> 'set_aside_seq' = asked_seq::text AND s.payload ->> 'set_aside_hash' = asked_hash)
$$;
CREATE OR REPLACE FUNCTION announced_ranges(asked_shard integer, from_range_no bigint, at_most integer)
RETURNS TABLE (id text, seq bigint, actor_id text, event_type text, payload jsonb, prev_hash text, hash text,
               signature text, signer_kid text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.id, e.seq, e.actor_id, e.event_type, e.payload, e.prev_hash, e.hash, e.signature, e.signer_kid,
           e.created_at
      FROM public.audit_events e
     WHERE e.event_type = 'journal.posted' AND e.actor_id = 'service:prover'
       AND CASE WHEN e.payload ->> 'shard' ~ '^[0-9]{1,9}$' THEN (e.payload ->> 'shard')::bigint END = asked_shard
       AND CASE WHEN e.payload ->> 'range_no' ~ '^[0-9]{1,18}$' THEN (e.payload ->> 'range_no')::bigint END
           >= from_range_no
       AND (NOT public.is_set_aside(e.seq, e.hash)
            OR EXISTS (SELECT 1 FROM public.ranges r
                        WHERE r.shard = asked_shard AND encode(r.hash, 'hex') = e.payload ->> 'proof_hash'
                          AND r.range_no::text = e.payload ->> 'range_no'))
     ORDER BY CASE WHEN e.payload ->> 'range_no' ~ '^[0-9]{1,18}$' THEN (e.payload ->> 'range_no')::bigint END
     LIMIT least(at_most, 2000)
$$;

DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['audit_event_types()', 'may_leave(text, text)', 'refuse_intents(bigint[], text[])',
                             'is_set_aside(bigint, text)'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION audit_event_types(), may_leave(text, text) TO finance_prover, finance_archiver, finance_api;
GRANT EXECUTE ON FUNCTION refuse_intents(bigint[], text[]) TO finance_notary;
GRANT EXECUTE ON FUNCTION is_set_aside(bigint, text) TO finance_notary, finance_archiver, finance_api, finance_auditor;
