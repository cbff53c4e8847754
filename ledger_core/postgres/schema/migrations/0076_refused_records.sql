-- A record that the rules post and the database does not take halts its shard alone. It can be read, so no operator sets
-- it aside: its halt ends by being resumed, with a version that mends it.

ALTER TABLE shard_halts DROP CONSTRAINT shard_halts_kind_check;
ALTER TABLE shard_halts ADD CONSTRAINT shard_halts_kind_check CHECK (kind IN ('dead_letters', 'unreadable', 'refused'));

CREATE OR REPLACE FUNCTION shard_resumes_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE halt public.shard_halts;
BEGIN
    SELECT * INTO halt FROM public.shard_halts h WHERE h.halt_id = NEW.halt_id;
    IF NOT FOUND
       OR (halt.kind = 'dead_letters') <> (NEW.allowed_offset IS NOT NULL)
       OR (halt.kind <> 'unreadable' AND NEW.set_aside_offset IS NOT NULL)
       OR NEW.set_aside_offset <= halt.at_offset THEN
        RAISE EXCEPTION 'this decision does not fit the halt' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
