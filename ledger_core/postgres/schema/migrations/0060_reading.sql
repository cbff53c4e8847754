-- The read side: schemas that belong to nobody's posting. A projector makes its tables there, and may do nothing in the
-- ledger's (decision 124). Who asks logs in as a role that may do nothing else: what a projector makes, a view or a
-- policy, runs in the name of whoever asks it.
DO $$
DECLARE
    owner text := current_user;
    missing text;
BEGIN
    PERFORM set_config('role', 'none', true);    -- the owner of the schema makes neither roles nor schemas: whoever logged in
    FOREACH missing IN ARRAY ARRAY['finance_projector', 'finance_reading'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = missing);
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', missing);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING MESSAGE = format('the role %s is missing: as an administrator, run '
                    'CREATE ROLE %s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE, then migrate again', missing, missing);
        END;
    END LOOP;
    FOREACH missing IN ARRAY ARRAY['reading', 'reading_1', 'reading_2'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_namespace WHERE nspname = missing);
        BEGIN
            EXECUTE format('CREATE SCHEMA %I AUTHORIZATION finance_migrator', missing);
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE insufficient_privilege USING MESSAGE = format('the schema %s is missing: as an administrator, run '
                'CREATE SCHEMA %s AUTHORIZATION finance_migrator, then migrate again', missing, missing);
        END;
    END LOOP;
    PERFORM set_config('role', owner, true);
END $$;
DO $$
DECLARE place text;
BEGIN
    FOREACH place IN ARRAY ARRAY['reading', 'reading_1', 'reading_2'] LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', place);
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO finance_projector', place);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO finance_reading', place);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA public TO finance_projector, finance_reading;
GRANT SELECT ON deployment TO finance_projector, finance_reading;    -- which environment this is
