-- Least authority, second part (G9). The matrix of who may do what is ledger_core/postgres/authority.py; a test holds the
-- database against it, and `finance verify ledger` reports a database that differs.

-- The owner of the schema is a role of its own, without superuser: from here on `finance migrate` may log in as it.
DO $$
DECLARE
    thing record;
    super boolean := (SELECT rolsuper FROM pg_roles WHERE rolname = current_user);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'finance_migrator') THEN
        BEGIN
            CREATE ROLE finance_migrator LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    IF current_user <> 'finance_migrator' AND NOT super THEN
        EXECUTE format('GRANT finance_migrator TO %I', current_user);    -- only a member may hand a thing over
    END IF;
    GRANT CREATE, USAGE ON SCHEMA public TO finance_migrator;
    FOR thing IN SELECT oid::regclass AS name FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO finance_migrator', thing.name);
    END LOOP;
    FOR thing IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', thing.name);
    END LOOP;
END $$;

-- Which environment this database belongs to: one database, one environment. `finance migrate` writes it once; a process
-- of another environment is refused. (A shared database would need env in every key, and one mistake in one policy
-- would mix money that is real with money that is not.)
CREATE TABLE deployment (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    env       text NOT NULL CHECK (env IN ('dev', 'staging', 'production')),
    domain    text NOT NULL,
    bound_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE deployment OWNER TO finance_migrator;
GRANT SELECT ON deployment TO finance_poster, finance_prover, finance_archiver, finance_notary, finance_api, finance_auditor;

-- Owner's mistakes: what has no business changing or going, does not. (An owner can drop a trigger; verify reports it.)
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['deployment', 'schema_migrations'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['balances', 'control', 'notary_cursor'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_never_emptied', t);
    END LOOP;
END $$;
CREATE FUNCTION notary_cursor_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.published_seq < OLD.published_seq THEN
        RAISE EXCEPTION 'the notary''s cursor only grows' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
ALTER FUNCTION notary_cursor_only_grows() OWNER TO finance_migrator;
CREATE TRIGGER notary_cursor_only_grows BEFORE UPDATE ON notary_cursor FOR EACH ROW EXECUTE FUNCTION notary_cursor_only_grows();

-- Nobody's search path decides what these functions call, and nobody but triggers calls them.
DO $$
DECLARE f record;
BEGIN
    FOR f IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, public, pg_temp', f.name);
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f.name);
    END LOOP;
END $$;

-- What was granted and is not needed.
REVOKE SELECT ON shards FROM finance_notary;
REVOKE SELECT ON lines, pii FROM finance_poster;
REVOKE SELECT ON entries FROM finance_prover;
REVOKE UPDATE ON shards, balances FROM finance_poster;
GRANT UPDATE (next_offset, seq, head_hash, accounts, posted, duplicates, rejected, relayed_offset, changed_at) ON shards TO finance_poster;
GRANT UPDATE (debits, credits) ON balances TO finance_poster;

-- Row-level security where roles share a table: a process signs its own name only, an operator's never a process's...
ALTER TABLE audit_outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY outbox_in_its_own_name ON audit_outbox FOR INSERT
    TO finance_poster, finance_prover, finance_archiver, finance_notary
    WITH CHECK (actor_id = 'service:' || substr(current_user::text, 9));          -- finance_<process>
CREATE POLICY outbox_in_no_service_name ON audit_outbox FOR INSERT TO finance_api WITH CHECK (NOT starts_with(actor_id, 'service:'));
CREATE POLICY outbox_read ON audit_outbox FOR SELECT TO finance_notary, finance_api, finance_auditor USING (true);
CREATE POLICY outbox_taken ON audit_outbox FOR DELETE TO finance_notary USING (true);

-- ... and the front door stores proofs that an operator asked for, never one of a closed range.
ALTER TABLE proofs ENABLE ROW LEVEL SECURITY;
CREATE POLICY proofs_read ON proofs FOR SELECT TO finance_prover, finance_archiver, finance_api, finance_auditor USING (true);
CREATE POLICY proofs_of_ranges ON proofs FOR INSERT TO finance_prover WITH CHECK (shard IS NOT NULL);
CREATE POLICY proofs_asked_for ON proofs FOR INSERT TO finance_api WITH CHECK (shard IS NULL);
