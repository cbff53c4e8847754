-- An operator is who the certificate names. Whoever meets the database as the front door's role with a certificate
-- `operator.<name>` writes no other operator's name, whatever the statement says. With another certificate, or none (dev),
-- the name is as it was: the HTTP API speaks for those whom it has authenticated itself.
CREATE FUNCTION certified_operator() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT substring(client_dn FROM '/CN=operator\.([a-z0-9][a-z0-9._-]*)(?:/|$)') FROM pg_stat_ssl
    WHERE pid = pg_backend_pid()
$$;
CREATE FUNCTION refuse_other_operators() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    certified text := public.certified_operator();
BEGIN
    IF certified IS NOT NULL AND NEW.actor_id IS DISTINCT FROM 'operator:' || certified THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('the certificate is that of operator:%s, and the row says %s', certified, NEW.actor_id);
    END IF;
    RETURN NEW;
END
$$;
ALTER FUNCTION certified_operator() OWNER TO finance_migrator;
ALTER FUNCTION refuse_other_operators() OWNER TO finance_migrator;
REVOKE EXECUTE ON FUNCTION certified_operator(), refuse_other_operators() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION certified_operator() TO finance_api;

-- Every table in which the front door's role writes who acted. (By name these fire before what else judges a row.)
CREATE TRIGGER certified_audit_outbox BEFORE INSERT ON audit_outbox FOR EACH ROW
    WHEN (starts_with(NEW.actor_id, 'operator:')) EXECUTE FUNCTION refuse_other_operators();
CREATE TRIGGER certified_halts BEFORE INSERT ON halts FOR EACH ROW
    WHEN (starts_with(NEW.actor_id, 'operator:')) EXECUTE FUNCTION refuse_other_operators();
CREATE TRIGGER certified_halts_lifted BEFORE INSERT ON halts_lifted FOR EACH ROW
    WHEN (starts_with(NEW.actor_id, 'operator:')) EXECUTE FUNCTION refuse_other_operators();
CREATE TRIGGER certified_lock_decisions BEFORE INSERT ON lock_decisions FOR EACH ROW
    WHEN (starts_with(NEW.actor_id, 'operator:')) EXECUTE FUNCTION refuse_other_operators();
CREATE TRIGGER certified_shard_resumes BEFORE INSERT ON shard_resumes FOR EACH ROW
    WHEN (starts_with(NEW.actor_id, 'operator:')) EXECUTE FUNCTION refuse_other_operators();
