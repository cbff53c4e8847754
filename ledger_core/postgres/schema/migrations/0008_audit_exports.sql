-- The audit chain leaves for the archive, too: ranges of published events, each one locked object. A range is written
-- down before it is stored, so that a retry stores the same bytes under the same name.

CREATE TABLE audit_export_ranges (
    export_no bigint PRIMARY KEY CHECK (export_no >= 1),         -- gapless
    first_seq bigint NOT NULL UNIQUE CHECK (first_seq >= 1),     -- of audit_events: the one after the range before it
    last_seq  bigint NOT NULL CHECK (last_seq >= first_seq),
    closed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE audit_exports (         -- the object of a range, pinned
    export_no         bigint PRIMARY KEY REFERENCES audit_export_ranges,
    head_hash         text   NOT NULL,               -- of the range's newest event
    object_key        text   NOT NULL UNIQUE,
    version_id        text   NOT NULL,
    sha256            text   NOT NULL,               -- of the uncompressed JSONL
    size_bytes        bigint NOT NULL,
    stored_sha256     text   NOT NULL,               -- of the gzip bytes as stored
    stored_size_bytes bigint NOT NULL,
    mode              text   NOT NULL,
    retain_until      timestamptz NOT NULL,
    stored_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['audit_export_ranges', 'audit_exports'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
    END LOOP;
END $$;

-- The archiver alone has the archive's credentials, so it exports; it reads the chain and writes none of it.
GRANT SELECT ON audit_events, notary_cursor TO finance_archiver;
GRANT SELECT, INSERT ON audit_export_ranges, audit_exports TO finance_archiver;
GRANT SELECT ON audit_export_ranges, audit_exports TO finance_api, finance_auditor;
