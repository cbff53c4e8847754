-- Whoever finds that the record contradicts itself halts posting at once (Corrupt), in one transaction with the intent.

GRANT UPDATE (halted, reason, actor_id, changed_at) ON control TO finance_prover, finance_archiver, finance_notary;
GRANT INSERT ON audit_outbox TO finance_notary;
