-- One shard can stand still alone: beyond its dead-letter limit, or before a record that nothing can read. A poster
-- halts it, an operator alone ends that. Both are rows that stay, and each leaves its audit event itself, in the same
-- transaction: so neither exists without the other, and neither says another thing than the other.

CREATE TABLE shard_halts (
    halt_id   bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shard     integer NOT NULL CHECK (shard >= 0),
    kind      text    NOT NULL CHECK (kind IN ('dead_letters', 'unreadable')),
    at_offset bigint  NOT NULL CHECK (at_offset >= 0),       -- not posted: what comes next, or cannot be read
    detail    text    NOT NULL CHECK (detail ~ '^[ -~]+$' AND length(detail) <= 1000),
    halted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX shard_halts_newest ON shard_halts (shard, halt_id DESC);

CREATE TABLE shard_resumes (        -- the one end of a halt
    halt_id          bigint PRIMARY KEY REFERENCES shard_halts,
    actor_id         text   NOT NULL CHECK (starts_with(actor_id, 'operator:') AND length(actor_id) <= 200
                                            AND actor_id IS NFC NORMALIZED AND actor_id !~ '[[:cntrl:]]'),
    reason           text   NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000
                                            AND reason IS NFC NORMALIZED AND reason !~ '[[:cntrl:]]'),
    trace_id         text   NOT NULL CHECK (trace_id ~ '^[0-9a-f]{32}$'),
    allowed_offset   bigint,        -- of dead_letters: rejections below it do not count towards the limit
    set_aside_offset bigint,        -- of unreadable: the offsets from the halt's to before it are rejected; null: read again
    resumed_at       timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The newest halt of a shard counts. One that is halted is not halted again; two rivals that do so at one moment wait for
-- nobody, and the later halt counts.
CREATE FUNCTION shard_is_halted(asked integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT NOT EXISTS (SELECT FROM public.shard_resumes r WHERE r.halt_id = h.halt_id)
                       FROM public.shard_halts h WHERE h.shard = asked ORDER BY h.halt_id DESC LIMIT 1), false)
$$;

CREATE FUNCTION shard_halts_once() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF public.shard_is_halted(NEW.shard) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER shard_halts_once BEFORE INSERT ON shard_halts FOR EACH ROW EXECUTE FUNCTION shard_halts_once();

CREATE FUNCTION shard_halts_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('ledger.shard_halted', 'service:poster', jsonb_build_object(
        'shard', NEW.shard, 'kind', NEW.kind, 'offset', NEW.at_offset::text, 'reason', NEW.detail), '');
    RETURN NULL;
END $$;
CREATE TRIGGER shard_halts_told AFTER INSERT ON shard_halts FOR EACH ROW EXECUTE FUNCTION shard_halts_told();

-- What a decision means depends on the halt that it ends; offsets are set aside only where a poster could not read on.
CREATE FUNCTION shard_resumes_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE halt public.shard_halts;
BEGIN
    SELECT * INTO halt FROM public.shard_halts h WHERE h.halt_id = NEW.halt_id;
    IF NOT FOUND
       OR (halt.kind = 'dead_letters') <> (NEW.allowed_offset IS NOT NULL)
       OR (halt.kind = 'dead_letters' AND NEW.set_aside_offset IS NOT NULL)
       OR NEW.set_aside_offset <= halt.at_offset THEN
        RAISE EXCEPTION 'this decision does not fit the halt' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER shard_resumes_fit BEFORE INSERT ON shard_resumes FOR EACH ROW EXECUTE FUNCTION shard_resumes_fit();

CREATE FUNCTION shard_resumes_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE halt public.shard_halts;
BEGIN
    SELECT * INTO halt FROM public.shard_halts h WHERE h.halt_id = NEW.halt_id;
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES (CASE WHEN NEW.set_aside_offset IS NULL THEN 'ledger.shard_resumed' ELSE 'ledger.offsets_set_aside' END,
            NEW.actor_id, jsonb_strip_nulls(jsonb_build_object(
                'shard', halt.shard, 'kind', halt.kind, 'offset', halt.at_offset::text, 'reason', NEW.reason,
                'allowed_offset', NEW.allowed_offset::text, 'next_offset', NEW.set_aside_offset::text)), NEW.trace_id);
    RETURN NULL;
END $$;
CREATE TRIGGER shard_resumes_told AFTER INSERT ON shard_resumes FOR EACH ROW EXECUTE FUNCTION shard_resumes_told();

DO $$
DECLARE t text; f text;
BEGIN
    FOREACH t IN ARRAY ARRAY['shard_halts', 'shard_resumes'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO finance_migrator', t);
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
        EXECUTE format('GRANT SELECT ON %I TO finance_poster, finance_api, finance_auditor', t);
    END LOOP;
    FOREACH f IN ARRAY ARRAY['shard_is_halted(integer)', 'shard_halts_once()', 'shard_halts_told()',
                             'shard_resumes_fit()', 'shard_resumes_told()'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION shard_is_halted(integer) TO finance_poster, finance_api;
GRANT INSERT (shard, kind, at_offset, detail) ON shard_halts TO finance_poster;
GRANT INSERT (halt_id, actor_id, reason, trace_id, allowed_offset, set_aside_offset) ON shard_resumes TO finance_api;

-- A poster rejects an offset as unreadable where an operator decided so, and nowhere else: else it could leave out what
-- it does not like. (A rebuild writes what the archive proves, as the owner.)
CREATE FUNCTION verdicts_set_aside() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF session_user = 'finance_poster' AND NOT EXISTS (
        SELECT FROM public.shard_halts h JOIN public.shard_resumes r USING (halt_id)
         WHERE h.shard = NEW.shard AND NEW.source_offset >= h.at_offset AND NEW.source_offset < r.set_aside_offset)
    THEN
        RAISE EXCEPTION 'nobody decided to set offset % of shard % aside', NEW.source_offset, NEW.shard
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
ALTER FUNCTION verdicts_set_aside() OWNER TO finance_migrator;
REVOKE ALL ON FUNCTION verdicts_set_aside() FROM PUBLIC;
CREATE TRIGGER verdicts_set_aside BEFORE INSERT ON verdicts
    FOR EACH ROW WHEN (NEW.reason = 'unreadable') EXECUTE FUNCTION verdicts_set_aside();
