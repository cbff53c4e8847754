-- Who halts posting, and who lets it go on, stands on record row by row, in the name of the role that did it, and the
-- database itself leaves the audit event. Each halt is a row of its own: no lock of anybody stands in its way, and no
-- resume takes a halt away that it did not see.

CREATE TABLE halts (
    halt_no   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reason    text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    actor_id  text NOT NULL CHECK (length(actor_id) BETWEEN 1 AND 200),
    trace_id  text NOT NULL CHECK (length(trace_id) <= 200),
    shard     integer,                   -- whose records led to it, if one's did; it stops all of them
    halted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE halts_lifted (              -- posting is halted while a halt has no row here
    halt_no   bigint PRIMARY KEY REFERENCES halts,
    reason    text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    actor_id  text NOT NULL CHECK (length(actor_id) BETWEEN 1 AND 200),
    trace_id  text NOT NULL CHECK (length(trace_id) <= 200),
    lifted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What is halted stays halted; its event stands on the chain, or in the outbox, already.
INSERT INTO halts (reason, actor_id, trace_id, halted_at)
SELECT left(coalesce(nullif(reason, ''), 'no reason'), 2000), left(coalesce(nullif(actor_id, ''), 'service:migrate'), 200),
       '', changed_at
  FROM control WHERE halted;
DROP TABLE control;

CREATE FUNCTION halts_leave_an_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('ledger.halted', NEW.actor_id,
            jsonb_strip_nulls(jsonb_build_object('reason', NEW.reason, 'shard', NEW.shard)), NEW.trace_id);
    RETURN NULL;
END $$;
CREATE TRIGGER halts_leave_an_event AFTER INSERT ON halts FOR EACH ROW EXECUTE FUNCTION halts_leave_an_event();

CREATE FUNCTION lifting_leaves_an_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id)
    SELECT DISTINCT 'ledger.resumed', actor_id, jsonb_build_object('reason', reason), trace_id FROM new_rows;
    RETURN NULL;
END $$;
CREATE TRIGGER lifting_leaves_an_event AFTER INSERT ON halts_lifted
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION lifting_leaves_an_event();

CREATE TRIGGER halts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON halts
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER halts_lifted_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON halts_lifted
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

-- Everybody halts in its own name, an operator alone lets posting go on. Nobody chooses a number or a time.
ALTER TABLE halts ENABLE ROW LEVEL SECURITY;
ALTER TABLE halts_lifted ENABLE ROW LEVEL SECURITY;
CREATE POLICY halts_read ON halts FOR SELECT USING (true);
CREATE POLICY halts_lifted_read ON halts_lifted FOR SELECT USING (true);
CREATE POLICY halts_in_its_own_name ON halts FOR INSERT
    TO finance_poster, finance_prover, finance_archiver, finance_notary
    WITH CHECK (actor_id = 'service:' || substr(current_user::text, 9));          -- finance_<process>
CREATE POLICY halts_by_operators ON halts FOR INSERT TO finance_api WITH CHECK (starts_with(actor_id, 'operator:'));
CREATE POLICY halts_lifted_by_operators ON halts_lifted FOR INSERT TO finance_api
    WITH CHECK (starts_with(actor_id, 'operator:'));
GRANT SELECT ON halts, halts_lifted TO finance_poster, finance_prover, finance_archiver, finance_notary, finance_api,
    finance_auditor;
GRANT INSERT (reason, actor_id, trace_id, shard) ON halts TO finance_poster, finance_prover, finance_archiver,
    finance_notary, finance_api;
GRANT INSERT (halt_no, reason, actor_id, trace_id) ON halts_lifted TO finance_api;

-- Whoever may delete the rows of a table may lock it, and a halt leaves its event in the outbox: so the notary takes
-- what it chained by this function alone. It gives back how many there were.
CREATE FUNCTION take_intents(taken bigint[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH gone AS (DELETE FROM public.audit_outbox WHERE outbox_id = ANY (taken) RETURNING 1) SELECT count(*) FROM gone
$$;
REVOKE DELETE ON audit_outbox FROM finance_notary;
DROP POLICY outbox_taken ON audit_outbox;

-- Ids of two owners cannot collide: the front door keeps proofs that an operator asked for under names of their own, and
-- what stood under a wrong one before (NOT VALID: it may) is in nobody's way.
ALTER TABLE proofs DROP CONSTRAINT proofs_pkey;
CREATE UNIQUE INDEX proofs_asked_for_id ON proofs (proof_id) WHERE shard IS NULL;
ALTER TABLE proofs ADD CONSTRAINT proofs_of_one_range CHECK ((shard IS NULL) = (range_no IS NULL)) NOT VALID;
ALTER TABLE proofs ADD CONSTRAINT proofs_named_by_owner CHECK (
    proof_id ~ coalesce('^[a-z]+-' || shard || '-' || range_no || '$', '^[a-z]+-demand-[0-9a-f-]+$')) NOT VALID;

DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['halts_leave_an_event()', 'lifting_leaves_an_event()', 'take_intents(bigint[])'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION take_intents(bigint[]) TO finance_notary;
