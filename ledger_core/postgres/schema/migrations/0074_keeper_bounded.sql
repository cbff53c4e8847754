-- What the keeper's role can say is bounded by what the ledger says: it neither chooses what was erased, nor takes back
-- that a row is kept, nor keeps one whose digest is another than its entry's, or than that of its data.

-- Erasures come from the audit chain by this alone: a row with a number of its own choice would hide all later ones.
REVOKE INSERT ON personal_forgotten FROM finance_keeper;
CREATE FUNCTION take_chained_erasures(at_most integer) RETURNS TABLE (event_id uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO public.personal_forgotten (seq, event_id)
    SELECT c.seq, c.event_id
      FROM public.chained_erasures((SELECT coalesce(max(f.seq), 0) FROM public.personal_forgotten f), at_most) c
        ON CONFLICT DO NOTHING RETURNING personal_forgotten.event_id
$$;
ALTER FUNCTION take_chained_erasures(integer) OWNER TO finance_migrator;
REVOKE ALL ON FUNCTION take_chained_erasures(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_chained_erasures(integer) TO finance_keeper;
REVOKE EXECUTE ON FUNCTION chained_erasures(bigint, integer) FROM finance_keeper;

-- (NOT VALID: what stands there stays.)
ALTER TABLE personal_data ADD CONSTRAINT personal_data_digest CHECK (digest = sha256(pii || salt)) NOT VALID;
CREATE FUNCTION personal_data_kept() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT NEW.kept OR NOT EXISTS (
           SELECT FROM public.personal_digests(ARRAY[NEW.event_id]) d WHERE d.digest = NEW.digest) THEN
        RAISE insufficient_privilege USING MESSAGE = 'what is kept has its entry''s digest, and stays until it is erased';
    END IF;
    RETURN NEW;
END $$;
ALTER FUNCTION personal_data_kept() OWNER TO finance_migrator;
REVOKE ALL ON FUNCTION personal_data_kept() FROM PUBLIC;
CREATE TRIGGER personal_data_kept BEFORE UPDATE OF kept ON personal_data FOR EACH ROW EXECUTE FUNCTION personal_data_kept();
