-- Personal data come by a topic of their own, and stand beside the ledger: what stands for them in an entry is a salted
-- digest. A process of its own keeps them, the keeper; nobody else writes or deletes here.

-- The owner of the schema makes no roles: whoever logged in does, if it may; else an administrator did before.
DO $$
DECLARE owner text := current_user;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'finance_keeper') THEN
        PERFORM set_config('role', 'none', true);
        BEGIN
            CREATE ROLE finance_keeper LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING MESSAGE = 'the role finance_keeper is missing: as an administrator, '
                    'run CREATE ROLE finance_keeper LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE, then migrate again';
        END;
        PERFORM set_config('role', owner, true);
    END IF;
END $$;
GRANT USAGE ON SCHEMA public TO finance_keeper;
GRANT SELECT ON deployment, epochs TO finance_keeper;

-- One row for each digest that was said of an event id. `kept`: the event's entry has this digest. Before that, several
-- may wait: a publisher who guesses an event id can add a row, and never replace one.
CREATE TABLE personal_data (
    event_id         uuid    NOT NULL,
    digest           bytea   NOT NULL CHECK (octet_length(digest) = 32),
    pii              bytea   NOT NULL,      -- canonical JSON
    salt             bytea   NOT NULL,
    kept             boolean NOT NULL DEFAULT false,
    arrival          bigint  GENERATED ALWAYS AS IDENTITY,
    source_partition integer NOT NULL,
    source_offset    bigint  NOT NULL,
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event_id, digest)
);
CREATE INDEX personal_data_waiting ON personal_data (arrival) WHERE NOT kept;

CREATE TABLE personal_cursors (             -- how far each partition of the side topic was read
    source_partition integer PRIMARY KEY,
    next_offset      bigint  NOT NULL
);

CREATE TABLE personal_refused (             -- what was not kept, and why: where it stood, and nothing of it
    source_partition integer NOT NULL,
    source_offset    bigint  NOT NULL,
    digest           bytea,                 -- salted; NULL where the record has none
    reason           text    NOT NULL,
    refused_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source_partition, source_offset)
);
CREATE INDEX personal_refused_at ON personal_refused (refused_at);

-- What was erased stays erased, whatever a topic brings again: rows without data, and for ever. An operator decides; the
-- audit chain says it again to a database that was rebuilt or put back.
CREATE TABLE personal_erasures (
    event_id  uuid PRIMARY KEY,
    reason    text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    actor_id  text NOT NULL CHECK (starts_with(actor_id, 'operator:')),
    trace_id  text NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX personal_erasures_at ON personal_erasures (erased_at);
CREATE TABLE personal_forgotten (
    seq      bigint PRIMARY KEY,            -- of the event on the audit chain
    event_id uuid   NOT NULL
);
CREATE INDEX personal_forgotten_event ON personal_forgotten (event_id);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['personal_data', 'personal_cursors', 'personal_refused', 'personal_erasures',
                             'personal_forgotten'] LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO finance_migrator', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['personal_erasures', 'personal_forgotten'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
    END LOOP;
    CREATE TRIGGER personal_cursors_never_emptied BEFORE DELETE OR TRUNCATE ON personal_cursors
        FOR EACH STATEMENT EXECUTE FUNCTION append_only();
END $$;
CREATE TRIGGER certified_personal_erasures BEFORE INSERT ON personal_erasures FOR EACH ROW
    WHEN (starts_with(NEW.actor_id, 'operator:')) EXECUTE FUNCTION refuse_other_operators();

-- What the keeper may know of an entry: its digest. In canonical JSON nothing but the fields of the entry itself can be
-- spelled `},"occurred_at":"`: a quotation mark in a text is escaped.
CREATE FUNCTION personal_digests(asked uuid[]) RETURNS TABLE (event_id uuid, digest bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.event_id,
           decode(substring(convert_from(e.body, 'UTF8')
               FROM '[}],"occurred_at":"[^"]*","order_id":"[^"]*","pii_digest":"([0-9a-f]{64})"'), 'hex')
      FROM public.entries e WHERE e.event_id = ANY (asked)
$$;
CREATE INDEX audit_events_erased ON audit_events (seq) WHERE event_type = 'personal.erased';
CREATE FUNCTION chained_erasures(after_seq bigint, at_most integer) RETURNS TABLE (seq bigint, event_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.seq, CASE WHEN e.payload ->> 'event_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                       THEN (e.payload ->> 'event_id')::uuid END
      FROM public.audit_events e
     WHERE e.event_type = 'personal.erased' AND starts_with(e.actor_id, 'operator:') AND e.seq > after_seq
       AND e.payload ->> 'event_id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
       AND NOT public.is_set_aside(e.seq, e.hash)
     ORDER BY e.seq LIMIT least(at_most, 2000)
$$;
-- Rows go by these alone: who may DELETE could lock a whole table against everybody. What is kept goes by an erasure on
-- record, and by nothing else.
CREATE FUNCTION forget_personal() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH erased AS (SELECT event_id FROM public.personal_erasures UNION SELECT event_id FROM public.personal_forgotten),
         gone AS (DELETE FROM public.personal_data d USING erased e WHERE d.event_id = e.event_id RETURNING 1)
    SELECT count(*) FROM gone
$$;
CREATE FUNCTION forget_personal_of(asked uuid[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM public.personal_data d WHERE d.event_id = ANY (asked)
                     AND (EXISTS (SELECT 1 FROM public.personal_erasures e WHERE e.event_id = d.event_id)
                          OR EXISTS (SELECT 1 FROM public.personal_forgotten f WHERE f.event_id = d.event_id))
                  RETURNING 1)
    SELECT count(*) FROM gone
$$;
CREATE FUNCTION drop_waiting_personal(ids uuid[], digests bytea[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM public.personal_data d USING unnest(ids, digests) AS w (event_id, digest)
                   WHERE d.event_id = w.event_id AND d.digest = w.digest AND NOT d.kept RETURNING 1)
    SELECT count(*) FROM gone
$$;
CREATE FUNCTION thin_waiting_personal(ids uuid[], at_most integer)
RETURNS TABLE (source_partition integer, source_offset bigint, digest bytea)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DELETE FROM public.personal_data d USING (
        SELECT event_id, digest, row_number() OVER (PARTITION BY event_id ORDER BY arrival DESC) AS place
          FROM public.personal_data WHERE event_id = ANY (ids) AND NOT kept) w
     WHERE d.event_id = w.event_id AND d.digest = w.digest AND NOT d.kept AND w.place > at_most
    RETURNING d.source_partition, d.source_offset, d.digest
$$;
CREATE FUNCTION prune_personal_refused(days integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM public.personal_refused
                   WHERE refused_at < clock_timestamp() - make_interval(days => days) RETURNING 1)
    SELECT count(*) FROM gone
$$;
DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['forget_personal()', 'forget_personal_of(uuid[])', 'drop_waiting_personal(uuid[], bytea[])',
                             'thin_waiting_personal(uuid[], integer)', 'prune_personal_refused(integer)'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO finance_keeper', f);
    END LOOP;
END $$;
ALTER FUNCTION personal_digests(uuid[]) OWNER TO finance_migrator;
ALTER FUNCTION chained_erasures(bigint, integer) OWNER TO finance_migrator;
REVOKE ALL ON FUNCTION personal_digests(uuid[]), chained_erasures(bigint, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION personal_digests(uuid[]), chained_erasures(bigint, integer) TO finance_keeper;

-- The keeper puts data in, and never reads them; nobody but the owner does. `kept` is all that it changes.
GRANT SELECT (event_id, digest, kept, arrival, source_partition, source_offset, received_at), UPDATE (kept),
      INSERT (event_id, digest, pii, salt, source_partition, source_offset) ON personal_data TO finance_keeper;
GRANT SELECT, INSERT, UPDATE (next_offset) ON personal_cursors TO finance_keeper;
GRANT SELECT, INSERT (source_partition, source_offset, digest, reason) ON personal_refused TO finance_keeper;
GRANT SELECT (event_id, erased_at) ON personal_erasures TO finance_keeper;
GRANT SELECT, INSERT ON personal_forgotten TO finance_keeper;
GRANT SELECT (event_id, kept, received_at) ON personal_data TO finance_api;
GRANT SELECT ON personal_cursors, personal_refused, personal_forgotten TO finance_api, finance_auditor;
GRANT SELECT, INSERT (event_id, reason, actor_id, trace_id) ON personal_erasures TO finance_api;
GRANT SELECT ON personal_erasures TO finance_auditor;

-- One type more that operators may leave: the event id alone, and why.
CREATE OR REPLACE FUNCTION audit_event_types() RETURNS TABLE (event_type text, actor text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('journal.posted', 'prover'), ('journal.adopted', 'prover'), ('proof.published', 'prover'),
           ('audit_export.completed', 'archiver'),
           ('proof.published', 'operator'), ('dead_letter.retried', 'operator'), ('archive.lock_decided', 'operator'),
           ('shard.times_accepted', 'operator'),
           ('audit.set_aside', 'operator'), ('drill.completed', 'operator'),
           ('signer.created', 'operator'), ('signer.registered', 'operator'), ('signer.rotation', 'operator'),
           ('signer.retired', 'operator'), ('signer.revoked', 'operator'), ('signer.emergency', 'operator'),
           ('signer.approved', 'operator'), ('personal.erased', 'operator')
$$;
