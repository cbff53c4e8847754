-- Least authority (G9): one login role per process. Passwords and client certificates are given outside migrations.
-- Roles are server-wide, so another database of the same server may have made them already.

DO $$
DECLARE r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['finance_poster', 'finance_prover', 'finance_archiver', 'finance_notary', 'finance_api', 'finance_auditor'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', r);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', r);
        EXECUTE format('GRANT SELECT ON control, shards TO %I', r);
    END LOOP;
END $$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

GRANT SELECT, INSERT ON entries, lines, accounts, verdicts, dead_letters, pii TO finance_poster;
GRANT SELECT, INSERT, UPDATE ON balances TO finance_poster;
GRANT INSERT, UPDATE ON shards TO finance_poster;
GRANT UPDATE (halted, reason, actor_id, changed_at) ON control TO finance_poster;    -- the dead-letter limit halts
GRANT INSERT ON audit_outbox TO finance_poster, finance_prover, finance_archiver, finance_api;

GRANT SELECT ON verdicts, entries TO finance_prover;
GRANT SELECT, INSERT ON ranges, proofs, checkpoints TO finance_prover;

GRANT SELECT ON verdicts, ranges, proofs, checkpoints TO finance_archiver;
GRANT SELECT, INSERT ON archive_objects, manifests TO finance_archiver;

GRANT SELECT, DELETE ON audit_outbox TO finance_notary;
GRANT SELECT, INSERT ON audit_events TO finance_notary;
GRANT SELECT ON notary_cursor TO finance_notary;
GRANT UPDATE (published_seq) ON notary_cursor TO finance_notary;

-- The front door reads, halts and resumes, and signs proofs asked for by an operator.
GRANT SELECT ON entries, lines, accounts, balances, verdicts, dead_letters, ranges, proofs, checkpoints,
    archive_objects, manifests, audit_outbox, audit_events, notary_cursor TO finance_api;
GRANT INSERT ON proofs TO finance_api;
GRANT UPDATE (halted, reason, actor_id, changed_at) ON control TO finance_api;

GRANT SELECT ON entries, lines, accounts, balances, verdicts, ranges, proofs, checkpoints, archive_objects, manifests,
    audit_outbox, audit_events, notary_cursor TO finance_auditor;
