-- Nothing about a range leaves before what binds it is published: the prover signs a range once its announcement stands
-- on finance.audit. Otherwise a database put back to before could close and sign that range a second time.

-- A hash index: what stands in a payload may be longer than a B-tree takes, and must not stop the notary.
CREATE INDEX audit_events_announced ON audit_events USING hash ((payload ->> 'proof_hash'))
    WHERE event_type IN ('journal.posted', 'journal.adopted');

-- The prover asks this one question, and reads nothing else of the audit chain.
CREATE FUNCTION range_is_announced(asked text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT 1 FROM public.audit_events e
         WHERE e.payload ->> 'proof_hash' = asked
           AND e.event_type IN ('journal.posted', 'journal.adopted')
           AND e.actor_id = 'service:prover'
           AND e.seq <= (SELECT published_seq FROM public.notary_cursor))
$$;
ALTER FUNCTION range_is_announced(text) OWNER TO finance_migrator;
REVOKE ALL ON FUNCTION range_is_announced(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION range_is_announced(text) TO finance_prover;
