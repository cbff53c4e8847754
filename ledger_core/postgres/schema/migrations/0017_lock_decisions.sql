-- Where a clock was wrong when a range was closed, or an audit event written, the lock that is counted from that time
-- would never end, or has ended already. An operator then has the lock of that one object counted from the decision.
CREATE TABLE lock_decisions (
    object_key text PRIMARY KEY CHECK (length(object_key) BETWEEN 1 AND 1024),
    reason     text NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    actor_id   text NOT NULL CHECK (actor_id LIKE 'operator:%'),
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()     -- never given: nobody chooses the end of a lock
);

CREATE TRIGGER lock_decisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON lock_decisions
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

GRANT SELECT ON lock_decisions TO finance_archiver, finance_auditor;
GRANT SELECT, INSERT (object_key, reason, actor_id) ON lock_decisions TO finance_api;
