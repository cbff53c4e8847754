-- An operator signs a control record of the posting rules in an event of his own: one type more that operators may leave.
CREATE OR REPLACE FUNCTION audit_event_types() RETURNS TABLE (event_type text, actor text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('journal.posted', 'prover'), ('journal.adopted', 'prover'), ('proof.published', 'prover'),
           ('audit_export.completed', 'archiver'),
           ('proof.published', 'operator'), ('dead_letter.retried', 'operator'), ('archive.lock_decided', 'operator'),
           ('shard.times_accepted', 'operator'),
           ('audit.set_aside', 'operator'), ('drill.completed', 'operator'),
           ('signer.created', 'operator'), ('signer.registered', 'operator'), ('signer.rotation', 'operator'),
           ('signer.retired', 'operator'), ('signer.revoked', 'operator'), ('signer.emergency', 'operator'),
           ('signer.approved', 'operator'), ('personal.erased', 'operator'),
           ('rules.activation_signed', 'operator')
$$;
