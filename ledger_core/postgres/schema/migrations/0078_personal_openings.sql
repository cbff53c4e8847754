-- Personal data leave and go by decisions on record. A digest opens pair by pair: each pair has a commitment of its own,
-- by a salt that is made of the event's, so that one can be shown without the others.

CREATE FUNCTION personal_pairs(pii bytea, salt bytea)
RETURNS TABLE (name text, value text, pair_salt bytea, commitment bytea)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.key, p.value, s.pair_salt,
           sha256(s.pair_salt || convert_to(p.key, 'UTF8') || '\x00'::bytea || convert_to(p.value, 'UTF8'))
      FROM json_each_text(convert_from(pii, 'UTF8')::json) p,
           LATERAL (SELECT sha256(convert_to(p.key, 'UTF8') || '\x00'::bytea || salt) AS pair_salt) s
$$;
CREATE FUNCTION personal_digest(pii bytea, salt bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(coalesce(string_agg(p.commitment, ''::bytea ORDER BY p.name COLLATE "C"), ''::bytea))
      FROM public.personal_pairs(pii, salt) p
$$;
-- (NOT VALID: what stands there stays.)
ALTER TABLE personal_data DROP CONSTRAINT personal_data_digest;
ALTER TABLE personal_data ADD CONSTRAINT personal_data_digest CHECK (digest = personal_digest(pii, salt)) NOT VALID;

-- Four eyes: an erasure stands when another operator approved of it within the day before.
CREATE TABLE personal_approvals (
    approval_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id    uuid NOT NULL,
    reason      text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000 AND reason !~ '[[:cntrl:]<>&]' AND reason IS NFC NORMALIZED),
    actor_id    text NOT NULL CHECK (actor_id ~ '^operator:[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
    trace_id    text NOT NULL,
    approved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX personal_approvals_event ON personal_approvals (event_id, approved_at);
ALTER TABLE personal_erasures ADD COLUMN approver_id text CHECK (approver_id <> actor_id);  -- null: of an older version

CREATE FUNCTION personal_approver(asked uuid, beside text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.actor_id FROM public.personal_approvals a
     WHERE a.event_id = asked AND a.actor_id <> beside AND a.approved_at > clock_timestamp() - interval '24 hours'
     ORDER BY a.approved_at DESC LIMIT 1
$$;
CREATE FUNCTION personal_erasures_approved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.approver_id := public.personal_approver(NEW.event_id, NEW.actor_id);
    IF NEW.approver_id IS NULL THEN
        RAISE check_violation USING MESSAGE = 'no other operator approved of this erasure within the last day';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER personal_erasures_approved BEFORE INSERT ON personal_erasures
    FOR EACH ROW EXECUTE FUNCTION personal_erasures_approved();
CREATE FUNCTION personal_approvals_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('personal.erasure_approved', NEW.actor_id,
            jsonb_build_object('event_id', NEW.event_id::text, 'reason', NEW.reason), NEW.trace_id);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION personal_erasures_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('personal.erased', NEW.actor_id,
            jsonb_build_object('event_id', NEW.event_id::text, 'reason', NEW.reason, 'approver', NEW.approver_id),
            NEW.trace_id);
    RETURN NULL;
END $$;

-- What is kept is read through this door alone: a decision of which window and which pairs, on record before the first
-- row of it is shown, and good for a day.
CREATE TABLE personal_disclosures (
    disclosure_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_ts       timestamptz NOT NULL,
    to_ts         timestamptz NOT NULL CHECK (to_ts > from_ts),
    fields        text[] NOT NULL CHECK (cardinality(fields) <= 32 AND array_to_string(fields, '', '?') ~ '^[a-z0-9_.-]*$'),
                                                                            -- names of pairs; none: all of them
    reason        text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000 AND reason !~ '[[:cntrl:]<>&]' AND reason IS NFC NORMALIZED),
    actor_id      text NOT NULL CHECK (actor_id ~ '^operator:[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
    trace_id      text NOT NULL,
    disclosed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION personal_disclosures_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('personal.disclosed', NEW.actor_id, jsonb_build_object(
                'disclosure_no', NEW.disclosure_no::text,
                'from_ts', to_char(NEW.from_ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'to_ts', to_char(NEW.to_ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'fields', to_jsonb(NEW.fields), 'reason', NEW.reason), NEW.trace_id);
    RETURN NULL;
END $$;
-- Salt and value of a pair that was not asked for are null: its commitment says nothing of it.
CREATE FUNCTION disclosed_personal(disclosure bigint, asked uuid[])
RETURNS TABLE (event_id uuid, commitment bytea, name text, value text, pair_salt bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.event_id, p.commitment, CASE WHEN o.is_open THEN p.name END, CASE WHEN o.is_open THEN p.value END,
           CASE WHEN o.is_open THEN p.pair_salt END
      FROM public.personal_disclosures s
      JOIN public.entries e ON e.event_id = ANY (asked) AND e.recorded_at >= s.from_ts AND e.recorded_at < s.to_ts
      JOIN public.personal_data d ON d.event_id = e.event_id AND d.kept
     CROSS JOIN LATERAL public.personal_pairs(d.pii, d.salt) p
     CROSS JOIN LATERAL (SELECT cardinality(s.fields) = 0 OR p.name = ANY (s.fields) AS is_open) o
     WHERE s.disclosure_no = disclosure AND s.disclosed_at > clock_timestamp() - interval '24 hours'
       AND NOT EXISTS (SELECT FROM public.personal_erasures x WHERE x.event_id = d.event_id)
       AND NOT EXISTS (SELECT FROM public.personal_forgotten x WHERE x.event_id = d.event_id)
     ORDER BY d.event_id, p.name COLLATE "C"
$$;

DO $$
DECLARE t text;
        f text;
BEGIN
    FOREACH t IN ARRAY ARRAY['personal_approvals', 'personal_disclosures'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO finance_migrator', t);
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
        EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON %I FOR EACH ROW WHEN (starts_with(NEW.actor_id, ''operator:'')) '
                       'EXECUTE FUNCTION refuse_other_operators()', 'certified_' || t, t);
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %I FOR EACH ROW EXECUTE FUNCTION %I()', t || '_told', t, t || '_told');
        EXECUTE format('GRANT SELECT ON %I TO finance_api, finance_auditor', t);
    END LOOP;
    FOREACH f IN ARRAY ARRAY['personal_pairs(bytea, bytea)', 'personal_digest(bytea, bytea)',
                             'personal_approver(uuid, text)', 'personal_erasures_approved()', 'personal_approvals_told()',
                             'personal_disclosures_told()', 'disclosed_personal(bigint, uuid[])'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
GRANT INSERT (event_id, reason, actor_id, trace_id) ON personal_approvals TO finance_api;
GRANT INSERT (from_ts, to_ts, fields, reason, actor_id, trace_id) ON personal_disclosures TO finance_api;
GRANT EXECUTE ON FUNCTION personal_approver(uuid, text), disclosed_personal(bigint, uuid[]) TO finance_api;
-- The check of a row's digest runs as whoever writes the row.
GRANT EXECUTE ON FUNCTION personal_pairs(bytea, bytea), personal_digest(bytea, bytea) TO finance_keeper;
