-- A bundle for an auditor is an event of the audit chain, asked for by the operator who made it.
CREATE OR REPLACE FUNCTION audit_event_types() RETURNS TABLE (event_type text, actor text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('journal.posted', 'prover'), ('journal.adopted', 'prover'), ('proof.published', 'prover'),
           ('audit_export.completed', 'archiver'),
           ('proof.published', 'operator'), ('dead_letter.retried', 'operator'),
           ('audit.set_aside', 'operator'), ('drill.completed', 'operator'),
           ('signer.created', 'operator'), ('signer.registered', 'operator'), ('signer.rotation', 'operator'),
           ('signer.retired', 'operator'), ('signer.revoked', 'operator'), ('signer.emergency', 'operator'),
           ('signer.approved', 'operator'), ('rules.activation_signed', 'operator'), ('auditor.exported', 'operator')
$$;
