-- A live checkpoint speaks of what is posted, to the offset: so whoever has the prover's role stores no row that later ones
-- could not replace. What the note itself says, whoever reads it verifies.

CREATE FUNCTION live_checkpoint_is_posted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    posted public.shards%ROWTYPE;
BEGIN
    SELECT * INTO posted FROM public.shards s WHERE s.shard = NEW.shard;
    IF NOT FOUND OR NEW.next_offset > posted.next_offset OR NEW.tree_size > posted.seq
       OR NEW.tree_size + NEW.verdict_count <> NEW.next_offset - posted.first_offset
       OR EXISTS (SELECT FROM public.entries e
                   WHERE e.shard = NEW.shard AND e.seq = NEW.tree_size AND e.source_offset >= NEW.next_offset)
       OR EXISTS (SELECT FROM public.entries e
                   WHERE e.shard = NEW.shard AND e.seq = NEW.tree_size + 1 AND e.source_offset < NEW.next_offset) THEN
        RAISE EXCEPTION 'a live checkpoint speaks of what is posted alone' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION live_checkpoint_is_posted() FROM PUBLIC;
CREATE TRIGGER live_checkpoints_posted BEFORE INSERT OR UPDATE ON live_checkpoints
    FOR EACH ROW EXECUTE FUNCTION live_checkpoint_is_posted();
