-- An operator's decision is made in the name of a certificate that names one operator, and leaves its event itself.

-- The name, by the whole subject (`system_user`; pg_stat_ssl cuts it at 63 characters, and a name in its middle is
-- somebody else's). Null: no certificate of an operator, and whoever meets us speaks for those that it let in. Empty: a
-- certificate that does not name one operator, who then writes no operator's name at all.
CREATE OR REPLACE FUNCTION certified_operator() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN system_user IS NULL OR NOT starts_with(system_user, 'cert:') THEN NULL
                WHEN (SELECT count(*) FROM regexp_matches(system_user, 'CN=', 'g')) <> 1 THEN ''
                WHEN common IS NULL THEN ''
                WHEN NOT starts_with(common, 'operator.') THEN NULL
                ELSE coalesce(substring(common FROM '^operator\.([a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?)$'), '')
           END
      FROM (SELECT substring(system_user FROM '(?:^cert:|[,+])CN=([^,+]*)')) AS subject (common)
$$;
CREATE OR REPLACE FUNCTION refuse_other_operators() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    certified text := public.certified_operator();
BEGIN
    IF certified = '' THEN
        RAISE insufficient_privilege USING MESSAGE = 'the certificate does not name one operator, by one common name';
    END IF;
    IF certified IS NOT NULL AND NEW.actor_id IS DISTINCT FROM 'operator:' || certified THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('the certificate is that of operator:%s, and the row says %s', certified, NEW.actor_id);
    END IF;
    RETURN NEW;
END
$$;

-- One spelling of who acts. (NOT VALID: what stands there stays.)
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['audit_outbox', 'halts', 'halts_lifted', 'lock_decisions', 'personal_erasures',
                             'shard_resumes', 'time_decisions'] LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (
            actor_id ~ ''^(service:[a-z]+|operator:[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?)$'') NOT VALID', t, t || '_actor');
    END LOOP;
END $$;

-- Each kind of decision leaves its event in the transaction that makes them, whoever writes the row.
ALTER TABLE lock_decisions ADD COLUMN trace_id text NOT NULL DEFAULT '' CHECK (trace_id ~ '^([0-9a-f]{32})?$');
ALTER TABLE time_decisions ADD COLUMN trace_id text NOT NULL DEFAULT '' CHECK (trace_id ~ '^([0-9a-f]{32})?$');
ALTER TABLE lock_decisions ADD CONSTRAINT lock_decisions_plain CHECK (
    object_key || reason !~ '[[:cntrl:]<>&]' AND object_key || reason IS NFC NORMALIZED) NOT VALID;
ALTER TABLE time_decisions ADD CONSTRAINT time_decisions_plain CHECK (
    reason !~ '[[:cntrl:]<>&]' AND reason IS NFC NORMALIZED) NOT VALID;
GRANT INSERT (trace_id) ON lock_decisions, time_decisions TO finance_api;

CREATE FUNCTION lock_decisions_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('archive.lock_decided', NEW.actor_id,
            jsonb_build_object('object_key', NEW.object_key, 'reason', NEW.reason), NEW.trace_id);
    RETURN NULL;
END $$;
CREATE TRIGGER lock_decisions_told AFTER INSERT ON lock_decisions FOR EACH ROW EXECUTE FUNCTION lock_decisions_told();

CREATE FUNCTION personal_erasures_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('personal.erased', NEW.actor_id,
            jsonb_build_object('event_id', NEW.event_id::text, 'reason', NEW.reason), NEW.trace_id);
    RETURN NULL;
END $$;
CREATE TRIGGER personal_erasures_told AFTER INSERT ON personal_erasures
    FOR EACH ROW EXECUTE FUNCTION personal_erasures_told();

-- It reaches to what waits, and no further: one that reached to the year 9999 would end the waiting for good.
CREATE FUNCTION time_decisions_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.upto > (SELECT coalesce(max(e.recorded_at), '-infinity') FROM public.entries e WHERE e.shard = NEW.shard
                      AND e.seq > (SELECT coalesce(max(r.last_seq), 0) FROM public.ranges r WHERE r.shard = NEW.shard)) THEN
        RAISE EXCEPTION 'no entry of shard % waits for %', NEW.shard, NEW.upto USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER time_decisions_fit BEFORE INSERT ON time_decisions FOR EACH ROW EXECUTE FUNCTION time_decisions_fit();
CREATE FUNCTION time_decisions_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('shard.times_accepted', NEW.actor_id, jsonb_build_object('shard', NEW.shard, 'upto',
            to_char(NEW.upto AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'reason', NEW.reason), NEW.trace_id);
    RETURN NULL;
END $$;
CREATE TRIGGER time_decisions_told AFTER INSERT ON time_decisions FOR EACH ROW EXECUTE FUNCTION time_decisions_told();

-- A proof that an operator asked for stands here with its event, which the command leaves: the database asks for it when
-- the transaction ends.
CREATE FUNCTION proofs_asked_for_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user = 'finance_api' AND NOT EXISTS (
        SELECT FROM public.audit_outbox o WHERE o.event_type = 'proof.published' AND o.payload ->> 'proof_id' = NEW.proof_id)
    THEN
        RAISE EXCEPTION 'proof % has no event proof.published', NEW.proof_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER proofs_asked_for_told AFTER INSERT ON proofs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.shard IS NULL) EXECUTE FUNCTION proofs_asked_for_told();

DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['lock_decisions_told()', 'time_decisions_fit()', 'time_decisions_told()',
                             'personal_erasures_told()', 'proofs_asked_for_told()'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;

-- What those triggers leave, nobody leaves by hand.
CREATE OR REPLACE FUNCTION audit_event_types() RETURNS TABLE (event_type text, actor text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('journal.posted', 'prover'), ('journal.adopted', 'prover'), ('proof.published', 'prover'),
           ('audit_export.completed', 'archiver'),
           ('proof.published', 'operator'), ('dead_letter.retried', 'operator'),
           ('audit.set_aside', 'operator'), ('drill.completed', 'operator'),
           ('signer.created', 'operator'), ('signer.registered', 'operator'), ('signer.rotation', 'operator'),
           ('signer.retired', 'operator'), ('signer.revoked', 'operator'), ('signer.emergency', 'operator'),
           ('signer.approved', 'operator'), ('rules.activation_signed', 'operator')
$$;
