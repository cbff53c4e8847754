-- Posting rules change at an offset: which version judges what stands at next_offset is part of the shard's head, moved
-- by the poster's own transaction, and only behind the verdict of the control record that put it in force.
ALTER TABLE shards ADD COLUMN rules integer NOT NULL DEFAULT 1 CHECK (rules BETWEEN 1 AND 999999999);
GRANT UPDATE (rules) ON shards TO finance_poster;

CREATE OR REPLACE FUNCTION shards_only_grow() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.shard <> OLD.shard OR NEW.topic <> OLD.topic OR NEW.first_offset <> OLD.first_offset
       OR NEW.next_offset < OLD.next_offset OR NEW.seq < OLD.seq OR NEW.accounts < OLD.accounts
       OR (NEW.seq = OLD.seq AND NEW.head_hash IS DISTINCT FROM OLD.head_hash)
       OR NEW.duplicates < OLD.duplicates OR NEW.rejected < OLD.rejected OR NEW.relayed_offset < OLD.relayed_offset
       OR NEW.rules < OLD.rules THEN
        RAISE EXCEPTION 'a shard only grows: % of shard % refused', TG_OP, OLD.shard USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.rules > OLD.rules AND NOT EXISTS (
           SELECT FROM verdicts WHERE shard = NEW.shard AND source_offset >= OLD.next_offset
              AND source_offset < NEW.next_offset AND reason = 'rules_' || NEW.rules) THEN
        RAISE EXCEPTION 'rules % of shard % were put in force by no record', NEW.rules, NEW.shard
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
