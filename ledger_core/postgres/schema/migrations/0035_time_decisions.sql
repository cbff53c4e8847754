-- A broker whose clock was ahead dates records of a time that has not come, and no proof speaks of them before it has:
-- for years, perhaps. An operator then accepts those times, and the shard is proved by the clocks that agree.
CREATE TABLE time_decisions (
    shard      integer NOT NULL CHECK (shard >= 0),
    upto       timestamptz NOT NULL CHECK (isfinite(upto)),
    reason     text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    actor_id   text NOT NULL CHECK (actor_id LIKE 'operator:%'),
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, upto)
);

CREATE TRIGGER time_decisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON time_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER certified_time_decisions BEFORE INSERT ON time_decisions FOR EACH ROW
    WHEN (starts_with(NEW.actor_id, 'operator:')) EXECUTE FUNCTION refuse_other_operators();

GRANT SELECT ON time_decisions TO finance_prover, finance_auditor;
GRANT SELECT, INSERT (shard, upto, reason, actor_id) ON time_decisions TO finance_api;

-- One type more that operators may leave: shard.times_accepted.
CREATE OR REPLACE FUNCTION audit_event_types() RETURNS TABLE (event_type text, actor text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('journal.posted', 'prover'), ('journal.adopted', 'prover'), ('proof.published', 'prover'),
           ('audit_export.completed', 'archiver'),
           ('proof.published', 'operator'), ('dead_letter.retried', 'operator'), ('archive.lock_decided', 'operator'),
           ('shard.times_accepted', 'operator'),
           ('audit.set_aside', 'operator'), ('drill.completed', 'operator'),
           ('signer.created', 'operator'), ('signer.registered', 'operator'), ('signer.rotation', 'operator'),
           ('signer.retired', 'operator'), ('signer.revoked', 'operator'), ('signer.emergency', 'operator'),
           ('signer.approved', 'operator')
$$;
