-- Payouts: one operator asks, others approve, each in a role of his own, and it is released once. The database itself
-- asks for the approvals, whoever writes the rows; every row stays, and leaves its event.

-- Who may approve, and from which amounts on more of them are needed: the owner's rows (`finance approvers`).
CREATE TABLE approver_changes (
    change_no  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    operator   text NOT NULL CHECK (operator ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'),
    role       text NOT NULL CHECK (role IN ('finance', 'lead', 'executive')),
    granted    boolean NOT NULL,
    reason     text NOT NULL,
    actor_id   text NOT NULL,
    trace_id   text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX approver_changes_of ON approver_changes (operator, role, change_no);
CREATE TABLE approval_limit_changes (
    change_no         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    currency          text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    second_from_minor bigint NOT NULL CHECK (second_from_minor > 0),
    third_from_minor  bigint NOT NULL,
    reason            text NOT NULL,
    actor_id          text NOT NULL,
    trace_id          text NOT NULL DEFAULT '',
    changed_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (third_from_minor >= second_from_minor)
);
CREATE INDEX approval_limit_changes_of ON approval_limit_changes (currency, change_no);

-- What was asked for. `form` is the movement as it will be booked; a trigger reads the columns below out of it.
CREATE TABLE payouts (
    request_id       uuid PRIMARY KEY,  -- the event id of what is released
    form             text NOT NULL CHECK (octet_length(form) <= 8192),
    form_hash        bytea NOT NULL,
    payee            text NOT NULL,
    currency         text NOT NULL,
    amount_minor     bigint NOT NULL,
    approvals_needed smallint NOT NULL,
    reason           text NOT NULL,
    actor_id         text NOT NULL,
    trace_id         text NOT NULL DEFAULT '',
    requested_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (payee ~ '^[a-z0-9][a-z0-9._-]{0,63}$' AND currency ~ '^[A-Z]{3}$' AND amount_minor > 0)
);
CREATE INDEX payouts_of ON payouts (payee, currency);
CREATE INDEX payouts_by_time ON payouts (requested_at);
CREATE TABLE payout_approvals (
    request_id  uuid NOT NULL REFERENCES payouts,
    form_hash   bytea NOT NULL,
    role        text NOT NULL,
    reason      text NOT NULL,
    actor_id    text NOT NULL,
    trace_id    text NOT NULL DEFAULT '',
    approved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (request_id, actor_id),
    UNIQUE (request_id, role)
);
CREATE TABLE payout_closings (
    request_id uuid PRIMARY KEY REFERENCES payouts,
    closing    text NOT NULL CHECK (closing IN ('rejected', 'released')),
    form_hash  bytea NOT NULL,
    reason     text NOT NULL,
    actor_id   text NOT NULL,
    trace_id   text NOT NULL DEFAULT '',
    closed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A payee whose payouts wait, in one currency or in all, until somebody else than who held them lets them go.
CREATE TABLE payee_holds (
    hold_id  uuid PRIMARY KEY,
    payee    text NOT NULL CHECK (payee ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    currency text CHECK (currency ~ '^[A-Z]{3}$'),
    reason   text NOT NULL,
    actor_id text NOT NULL,
    trace_id text NOT NULL DEFAULT '',
    held_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX payee_holds_of ON payee_holds (payee);
CREATE TABLE payee_holds_lifted (
    hold_id   uuid PRIMARY KEY REFERENCES payee_holds,
    reason    text NOT NULL,
    actor_id  text NOT NULL,
    trace_id  text NOT NULL DEFAULT '',
    lifted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One payee and currency at a time: two requests never count one balance twice, and no hold comes between a check and
-- its release.
CREATE TABLE payable_locks (
    payee text NOT NULL, currency text NOT NULL, taken_at timestamptz NOT NULL, PRIMARY KEY (payee, currency));
CREATE FUNCTION lock_payable(payee text, currency text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO public.payable_locks VALUES (lock_payable.payee, lock_payable.currency, clock_timestamp())
        ON CONFLICT ON CONSTRAINT payable_locks_pkey DO UPDATE SET taken_at = excluded.taken_at
$$;

CREATE FUNCTION approver_has(name text, wanted text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT c.granted FROM public.approver_changes c
                      WHERE 'operator:' || c.operator = approver_has.name AND c.role = wanted
                      ORDER BY c.change_no DESC LIMIT 1), false)
$$;
CREATE FUNCTION approvals_needed(currency text, amount_minor bigint) RETURNS smallint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN amount_minor >= c.third_from_minor THEN 3 WHEN amount_minor >= c.second_from_minor THEN 2 ELSE 1 END
      FROM public.approval_limit_changes c WHERE c.currency = approvals_needed.currency ORDER BY c.change_no DESC LIMIT 1
$$;
CREATE FUNCTION is_held(payee text, currency text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM public.payee_holds h WHERE h.payee = is_held.payee
                      AND (h.currency IS NULL OR h.currency = is_held.currency)
                      AND NOT EXISTS (SELECT FROM public.payee_holds_lifted l WHERE l.hold_id = h.hold_id))
$$;

CREATE FUNCTION payouts_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := NEW.form::jsonb;
BEGIN
    IF said ->> 'movement' IS DISTINCT FROM 'payout.sent' OR said ->> 'event_id' IS DISTINCT FROM NEW.request_id::text THEN
        RAISE check_violation USING MESSAGE = 'the form is not a payout.sent whose event_id is that of the request';
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

-- The request that a row of `payout_approvals` or `payout_closings` is about, locked with its payee.
CREATE FUNCTION payout_open(request uuid, hash bytea) RETURNS public.payouts
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked public.payouts;
BEGIN
    SELECT * INTO asked FROM public.payouts p WHERE p.request_id = request;
    IF asked.request_id IS NULL OR asked.form_hash <> hash THEN
        RAISE check_violation USING MESSAGE = 'there is no payout of this id and hash';
    END IF;
    PERFORM public.lock_payable(asked.payee, asked.currency);
    IF EXISTS (SELECT FROM public.payout_closings c WHERE c.request_id = request) THEN
        RAISE check_violation USING MESSAGE = 'this payout is rejected or released already';
    END IF;
    RETURN asked;
END $$;
CREATE FUNCTION payout_approvals_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked public.payouts := public.payout_open(NEW.request_id, NEW.form_hash);
BEGIN
    IF asked.actor_id = NEW.actor_id THEN
        RAISE check_violation USING MESSAGE = 'who asks for a payout does not approve it';
    END IF;
    IF NOT public.approver_has(NEW.actor_id, NEW.role) THEN
        RAISE check_violation USING MESSAGE = format('%s does not approve as %s', NEW.actor_id, NEW.role);
    END IF;
    IF clock_timestamp() >= asked.requested_at + interval '24 hours' THEN
        RAISE check_violation USING MESSAGE = 'this payout was asked for more than 24 hours ago';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION payout_closings_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    asked public.payouts := public.payout_open(NEW.request_id, NEW.form_hash);
BEGIN
    IF NEW.closing = 'rejected' THEN
        RETURN NEW;
    END IF;
    IF clock_timestamp() >= asked.requested_at + interval '24 hours' THEN
        RAISE check_violation USING MESSAGE = 'this payout was asked for more than 24 hours ago';
    END IF;
    -- Counts who may still approve: a role that was taken away takes its approvals along.
    IF (SELECT count(*) FROM public.payout_approvals a WHERE a.request_id = NEW.request_id
           AND public.approver_has(a.actor_id, a.role)) < asked.approvals_needed THEN
        RAISE check_violation USING MESSAGE = format('this payout needs %s approvals', asked.approvals_needed);
    END IF;
    IF public.is_held(asked.payee, asked.currency) THEN
        RAISE check_violation USING MESSAGE = format('payouts to %s are held', asked.payee);
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION payee_holds_locked() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM public.lock_payable(p.payee, p.currency) FROM
        (SELECT DISTINCT payee, currency FROM public.payouts WHERE payouts.payee = NEW.payee ORDER BY 1, 2) p;
    RETURN NEW;
END $$;
CREATE FUNCTION payee_holds_lifted_fit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM public.payee_holds h WHERE h.hold_id = NEW.hold_id AND h.actor_id = NEW.actor_id) THEN
        RAISE check_violation USING MESSAGE = 'who holds payouts does not let them go';
    END IF;
    RETURN NEW;
END $$;

-- Each row leaves its event: the columns of the row that say what was decided.
CREATE FUNCTION payout_told() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    said jsonb := to_jsonb(NEW);
    kind text := CASE TG_TABLE_NAME
        WHEN 'payouts' THEN 'payout.requested' WHEN 'payout_approvals' THEN 'payout.approved'
        WHEN 'payout_closings' THEN 'payout.' || (said ->> 'closing') WHEN 'payee_holds' THEN 'payee.held'
        WHEN 'payee_holds_lifted' THEN 'payee.let_go' WHEN 'approver_changes' THEN 'approver.changed'
        ELSE 'approval_limit.changed' END;
BEGIN
    said := said - ARRAY['actor_id', 'trace_id', 'requested_at', 'approved_at', 'closed_at', 'held_at', 'lifted_at',
                         'changed_at', 'change_no', 'closing', 'form'];
    IF said ? 'form_hash' THEN
        said := jsonb_set(said, '{form_hash}', to_jsonb(ltrim(said ->> 'form_hash', '\x')));
    END IF;
    SELECT jsonb_object_agg(key, CASE WHEN key LIKE '%\_minor' THEN to_jsonb(value #>> '{}') ELSE value END)
      INTO said FROM jsonb_each(said) WHERE value <> 'null';
    INSERT INTO public.audit_outbox (event_type, actor_id, payload, trace_id)
    VALUES (kind, NEW.actor_id, said, NEW.trace_id);
    RETURN NULL;
END $$;

DO $$
DECLARE
    t text;
    f text;
BEGIN
    FOREACH t IN ARRAY ARRAY['approver_changes', 'approval_limit_changes', 'payouts', 'payout_approvals',
                             'payout_closings', 'payee_holds', 'payee_holds_lifted'] LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (length(reason) BETWEEN 1 AND 1000
                        AND reason !~ ''[[:cntrl:]<>&]'' AND reason IS NFC NORMALIZED)', t, t || '_plain');
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (trace_id ~ ''^([0-9a-f]{32})?$'')', t, t || '_trace');
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (
            actor_id ~ ''^operator:[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$'')', t, t || '_actor');
        EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION append_only()', t || '_append_only', t);
        IF t NOT IN ('approver_changes', 'approval_limit_changes') THEN  -- the owner's, who has no operator's certificate
            EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON %I FOR EACH ROW
                WHEN (starts_with(NEW.actor_id, ''operator:'')) EXECUTE FUNCTION refuse_other_operators()',
                'certified_' || t, t);
        END IF;
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %I FOR EACH ROW EXECUTE FUNCTION payout_told()', t || '_told', t);
        EXECUTE format('GRANT SELECT ON %I TO finance_api, finance_auditor', t);
    END LOOP;
    FOREACH f IN ARRAY ARRAY['lock_payable(text, text)', 'approver_has(text, text)', 'approvals_needed(text, bigint)',
                             'is_held(text, text)', 'payouts_fit()', 'payout_open(uuid, bytea)', 'payout_approvals_fit()',
                             'payout_closings_fit()', 'payee_holds_locked()', 'payee_holds_lifted_fit()',
                             'payout_told()'] LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO finance_migrator', f);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', f);
    END LOOP;
END $$;
CREATE TRIGGER payouts_fit BEFORE INSERT ON payouts FOR EACH ROW EXECUTE FUNCTION payouts_fit();
CREATE TRIGGER payout_approvals_fit BEFORE INSERT ON payout_approvals
    FOR EACH ROW EXECUTE FUNCTION payout_approvals_fit();
CREATE TRIGGER payout_closings_fit BEFORE INSERT ON payout_closings
    FOR EACH ROW EXECUTE FUNCTION payout_closings_fit();
CREATE TRIGGER payee_holds_locked BEFORE INSERT ON payee_holds FOR EACH ROW EXECUTE FUNCTION payee_holds_locked();
CREATE TRIGGER payee_holds_lifted_fit BEFORE INSERT ON payee_holds_lifted
    FOR EACH ROW EXECUTE FUNCTION payee_holds_lifted_fit();

GRANT EXECUTE ON FUNCTION lock_payable(text, text), approvals_needed(text, bigint), is_held(text, text),
    approver_has(text, text) TO finance_api;
GRANT INSERT (request_id, form, reason, actor_id, trace_id) ON payouts TO finance_api;
GRANT INSERT (request_id, form_hash, role, reason, actor_id, trace_id) ON payout_approvals TO finance_api;
GRANT INSERT (request_id, closing, form_hash, reason, actor_id, trace_id) ON payout_closings TO finance_api;
GRANT INSERT (hold_id, payee, currency, reason, actor_id, trace_id) ON payee_holds TO finance_api;
GRANT INSERT (hold_id, reason, actor_id, trace_id) ON payee_holds_lifted TO finance_api;
