-- What the audit topic says of a shard's ranges is asked of the chain in the database, as far as that chain stands on the
-- topic: the prover reads no more of the topic than what this database does not hold. It still reads no other event.

-- The casts are guarded: what a payload holds must not stop the notary.
CREATE INDEX audit_events_posted_ranges ON audit_events (
    (CASE WHEN payload ->> 'shard' ~ '^[0-9]{1,9}$' THEN (payload ->> 'shard')::bigint END),
    (CASE WHEN payload ->> 'range_no' ~ '^[0-9]{1,18}$' THEN (payload ->> 'range_no')::bigint END))
    WHERE event_type = 'journal.posted' AND actor_id = 'service:prover';

CREATE FUNCTION audit_chain_end() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(max(seq), 0) FROM public.audit_events
$$;

CREATE FUNCTION audit_chain_holds(asked_seq bigint, asked_hash text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM public.audit_events e WHERE e.seq = asked_seq AND e.hash = asked_hash)
$$;

-- The announced ranges of a shard from a number on, ascending: whole events, so that whoever asks verifies them.
CREATE FUNCTION announced_ranges(asked_shard integer, from_range_no bigint, at_most integer)
RETURNS TABLE (id text, seq bigint, actor_id text, event_type text, payload jsonb, prev_hash text, hash text,
               signature text, signer_kid text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.id, e.seq, e.actor_id, e.event_type, e.payload, e.prev_hash, e.hash, e.signature, e.signer_kid,
           e.created_at
      FROM public.audit_events e
     WHERE e.event_type = 'journal.posted' AND e.actor_id = 'service:prover'
       AND CASE WHEN e.payload ->> 'shard' ~ '^[0-9]{1,9}$' THEN (e.payload ->> 'shard')::bigint END = asked_shard
       AND CASE WHEN e.payload ->> 'range_no' ~ '^[0-9]{1,18}$' THEN (e.payload ->> 'range_no')::bigint END
           >= from_range_no
     ORDER BY CASE WHEN e.payload ->> 'range_no' ~ '^[0-9]{1,18}$' THEN (e.payload ->> 'range_no')::bigint END
     LIMIT least(at_most, 2000)
$$;

DO $$
DECLARE f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['audit_chain_end()', 'audit_chain_holds(bigint, text)',
                             'announced_ranges(integer, bigint, integer)'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO finance_prover', f);
    END LOOP;
END $$;
