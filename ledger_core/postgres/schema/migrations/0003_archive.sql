-- One locked object per closed range, and one signed manifest per object: the manifests of a shard are a chain.

CREATE TABLE archive_objects (
    shard             integer NOT NULL,
    range_no          bigint  NOT NULL,
    object_key        text    NOT NULL UNIQUE,
    version_id        text    NOT NULL,
    sha256            text    NOT NULL,              -- of the uncompressed JSONL: the identity of the batch
    size_bytes        bigint  NOT NULL,              -- uncompressed
    stored_sha256     text    NOT NULL,              -- of the gzip bytes as stored
    stored_size_bytes bigint  NOT NULL,
    mode              text    NOT NULL,
    retain_until      timestamptz NOT NULL,
    journal_offset    bigint  NOT NULL,              -- in finance.journal: the archiver's cursor after this range
    stored_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, range_no),
    FOREIGN KEY (shard, range_no) REFERENCES ranges (shard, range_no)
);

CREATE TABLE manifests (
    shard       integer NOT NULL,
    manifest_no bigint  NOT NULL,                    -- = range_no of the object it adds
    payload     bytea   NOT NULL,                    -- canonical, unsigned: written down before it is signed
    hash        bytea   NOT NULL CHECK (octet_length(hash) = 32),
    manifest    bytea   NOT NULL,                    -- the signed manifest, canonical JSON
    object_key  text    NOT NULL,
    version_id  text    NOT NULL,
    PRIMARY KEY (shard, manifest_no),
    FOREIGN KEY (shard, manifest_no) REFERENCES archive_objects (shard, range_no)
);

DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['archive_objects', 'manifests'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION append_only()',
                       t || '_append_only', t);
    END LOOP;
END $$;
