-- No job of ours waits for a lock that a role without need of it can take. Any role may take any advisory lock, unless a
-- superuser forbids it; nobody may lock a row or a table without a privilege on it (G9).

-- Jobs that one session does at a time. It holds the job for as long as it lives: its pid and the moment it began are one
-- session for ever. Each row is its role's alone, by policy; columns are granted, so that nobody may lock the table.
CREATE TABLE job_holders (
    job           text PRIMARY KEY,
    role          name NOT NULL,       -- the one role that may do it
    pid           integer,             -- of the session that holds it, or held it last
    backend_start timestamptz,         -- of that session
    taken_by      name                 -- that session's role: `role`, or the owner
);
ALTER TABLE job_holders OWNER TO finance_migrator;
INSERT INTO job_holders (job, role) VALUES ('notary', 'finance_notary'), ('signers', 'finance_api');
CREATE TRIGGER job_holders_never_emptied BEFORE DELETE OR TRUNCATE ON job_holders
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
GRANT SELECT, UPDATE (backend_start, pid, taken_by) ON job_holders TO finance_notary, finance_api;
ALTER TABLE job_holders ENABLE ROW LEVEL SECURITY;
CREATE POLICY jobs_of_its_role ON job_holders TO finance_notary, finance_api USING (role = current_user);

-- The lock of first verdicts (decision 007), on a table that nobody has a privilege on.
CREATE TABLE first_verdicts (nothing boolean CHECK (nothing IS NULL));
ALTER TABLE first_verdicts OWNER TO finance_migrator;
CREATE TRIGGER first_verdicts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON first_verdicts
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE FUNCTION lock_first_verdicts(alone boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF alone THEN
        LOCK TABLE public.first_verdicts IN EXCLUSIVE MODE;
    ELSE
        LOCK TABLE public.first_verdicts IN ROW EXCLUSIVE MODE;
    END IF;
END $$;

ALTER FUNCTION lock_first_verdicts(boolean) OWNER TO finance_migrator;
REVOKE ALL ON FUNCTION lock_first_verdicts(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_first_verdicts(boolean) TO finance_poster;
