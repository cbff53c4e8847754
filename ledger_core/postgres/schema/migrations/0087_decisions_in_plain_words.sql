-- A decision takes effect only where its event can be chained: else it would stand off the chain. And what is shown by a
-- decision waits until that decision can no longer be taken back.

-- (NOT VALID: what stands there stays.)
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['halts_lifted', 'personal_erasures', 'personal_approvals', 'personal_disclosures'] LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (
            reason || trace_id !~ ''[[:cntrl:]<>&]'' AND reason IS NFC NORMALIZED AND trace_id IS NFC NORMALIZED) NOT VALID',
            t, t || '_chained');
    END LOOP;
END $$;
ALTER TABLE personal_disclosures ADD CONSTRAINT personal_disclosures_window CHECK (
    from_ts >= '1970-01-01Z' AND to_ts < '10000-01-01Z');
-- A halt is never refused for its words: they are respelled on their way to the chain.
CREATE OR REPLACE FUNCTION halts_leave_an_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES ('ledger.halted', translate(NEW.actor_id, '<>&', '＜＞＆'),
            jsonb_strip_nulls(jsonb_build_object('shard', NEW.shard, 'reason',
                normalize(regexp_replace(translate(NEW.reason, '<>&', '＜＞＆'), '[[:cntrl:]]', ' ', 'g'), NFC))),
            normalize(regexp_replace(translate(NEW.trace_id, '<>&', '＜＞＆'), '[[:cntrl:]]', ' ', 'g'), NFC));
    RETURN NULL;
END $$;

-- Of the transaction that decided: its rows are shown to nobody until it is committed (`pg_current_xact_id` is that of the
-- whole transaction, also within a savepoint), and to nobody else than who decided.
ALTER TABLE personal_disclosures ADD COLUMN decided_in xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE OR REPLACE FUNCTION disclosed_personal(disclosure bigint, asked uuid[])
RETURNS TABLE (event_id uuid, commitment bytea, name text, value text, pair_salt bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.event_id, p.commitment, CASE WHEN o.is_open THEN p.name END, CASE WHEN o.is_open THEN p.value END,
           CASE WHEN o.is_open THEN p.pair_salt END
      FROM public.personal_disclosures s
      JOIN public.entries e ON e.event_id = ANY (asked) AND e.recorded_at >= s.from_ts AND e.recorded_at < s.to_ts
      JOIN public.personal_data d ON d.event_id = e.event_id AND d.kept
     CROSS JOIN LATERAL public.personal_pairs(d.pii, d.salt) p
     CROSS JOIN LATERAL (SELECT cardinality(s.fields) = 0 OR p.name = ANY (s.fields) AS is_open) o
     WHERE s.disclosure_no = disclosure AND s.disclosed_at > clock_timestamp() - interval '24 hours'
       -- null: so long ago that the server no longer knows, and a row of an aborted transaction is not seen
       AND coalesce(pg_xact_status(s.decided_in), 'committed') = 'committed'
       AND s.actor_id = coalesce('operator:' || public.certified_operator(), s.actor_id)
       AND NOT EXISTS (SELECT FROM public.personal_erasures x WHERE x.event_id = d.event_id)
       AND NOT EXISTS (SELECT FROM public.personal_forgotten x WHERE x.event_id = d.event_id)
     ORDER BY d.event_id, p.name COLLATE "C"
$$;

-- What a row says does not depend on the session that writes it.
ALTER FUNCTION payout_told() SET bytea_output = 'hex';

-- A form has one reading: these fields, each once, of these kinds; else it could be approved and never booked.
CREATE OR REPLACE FUNCTION payouts_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := NEW.form::jsonb;
BEGIN
    IF (SELECT array_agg(k ORDER BY k COLLATE "C") FROM json_object_keys(NEW.form::json) k) IS DISTINCT FROM ARRAY[
           'amount_minor', 'currency', 'event_id', 'movement', 'occurred_at', 'paid_from', 'payee', 'settlement_id']
       OR said ->> 'movement' <> 'payout.sent' OR said ->> 'event_id' IS DISTINCT FROM NEW.request_id::text
       OR said ->> 'settlement_id' IS DISTINCT FROM 'po_' || NEW.request_id
       OR said ->> 'occurred_at' !~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$'
       OR said ->> 'paid_from' !~ '^asset:(bank|psp):[a-z0-9][a-z0-9_.:-]*$'
       OR jsonb_typeof(said -> 'amount_minor') <> 'number' OR said ->> 'amount_minor' !~ '^[1-9]\d{0,15}$'
       OR EXISTS (SELECT FROM jsonb_each(said) f WHERE f.key <> 'amount_minor' AND jsonb_typeof(f.value) <> 'string') THEN
        RAISE check_violation USING MESSAGE = 'the form is not one payout.sent, as `finance payout request` makes it';
    END IF;
    NEW.form_hash := sha256(convert_to(NEW.form, 'UTF8'));
    NEW.payee := said ->> 'payee';
    NEW.currency := said ->> 'currency';
    NEW.amount_minor := (said ->> 'amount_minor')::bigint;
    PERFORM public.lock_payable(NEW.payee, NEW.currency);
    NEW.approvals_needed := public.approvals_needed(NEW.currency, NEW.amount_minor);
    IF NEW.approvals_needed IS NULL THEN
        RAISE check_violation USING MESSAGE = 'no limit says how many approvals a payout in this currency needs';
    END IF;
    RETURN NEW;
END $$;
ALTER TABLE payable_locks ADD CONSTRAINT payable_locks_form CHECK (
    payee ~ '^[a-z0-9][a-z0-9._-]{0,63}$' AND currency ~ '^[A-Z]{3}$');
