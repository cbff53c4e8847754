"""Who may do what in the database: one closed matrix, table by role, as data.

Guarantees: every table stands here and nothing else does; a test compares this with a freshly migrated database in both
directions, so a table, a role or a grant without a decision fails; `schema_guard` compares it with a live one.
The owner, finance_migrator, is not in the matrix: it owns, and triggers guard against its mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

OWNER: Final = "finance_migrator"
BACKUP: Final = "finance_backup"  # made outside of migrations: REPLICATION, and no privilege on any table
ROLES: Final = ("poster", "prover", "archiver", "notary", "keeper", "projector", "reading", "api", "auditor")
READ_SIDE: Final = ("projector", "reading")  # who keeps projections, and who asks them: no right in the ledger's tables
PROJECTOR: Final = "finance_projector"
READING_SCHEMAS: Final = ("reading", "reading_1", "reading_2")  # what stands there is the projector's, and no guard's
PROCESS_ROLES: Final = ("poster", "prover", "archiver", "notary")  # of the ledger: each may halt posting

_HALTS: Final = "SELECT INSERT(actor_id,reason,shard,trace_id)"
_LEAVES: Final = "INSERT(actor_id,event_type,payload,trace_id)"  # neither its id nor its time
_READS: Final = "SELECT"
_APPENDS: Final = "SELECT INSERT"

# table -> role -> privileges; UPDATE with the columns it is for. A role that is not named may do nothing.
MATRIX: Final[Mapping[str, Mapping[str, str]]] = {
    # the ledger: the poster alone writes
    "shards": {
        "poster": "SELECT INSERT "
        "UPDATE(accounts,changed_at,duplicates,head_hash,newest_record_ms,newest_record_offset,"
        "newest_record_sha256,next_offset,posted,rejected,relayed_offset,rules,seq)",
        "prover": _READS,
        "archiver": _READS,
        "api": _READS,
        "auditor": _READS,
    },
    "entries": {"poster": _APPENDS, "api": _READS, "auditor": _READS},
    "lines": {"poster": "INSERT", "api": _READS, "auditor": _READS},
    "accounts": {"poster": _APPENDS, "api": _READS, "auditor": _READS},
    "balances": {"poster": "SELECT INSERT UPDATE(credits,debits)", "api": _READS, "auditor": _READS},
    "verdicts": {"poster": _APPENDS, "prover": _READS, "archiver": _READS, "api": _READS, "auditor": _READS},
    "dead_letters": {"poster": _APPENDS, "api": _READS},  # what a publisher sent by mistake: not for auditors
    # personal data, by the side topic: the keeper writes and never reads them, an operator decides what is erased
    "personal_data": {
        "keeper": "SELECT(arrival,digest,event_id,kept,received_at,source_offset,source_partition) UPDATE(kept) "
        "INSERT(digest,event_id,pii,salt,source_offset,source_partition)",
        "api": "SELECT(event_id,kept,received_at)",
    },
    "personal_cursors": {"keeper": "SELECT INSERT UPDATE(next_offset)", "api": _READS, "auditor": _READS},
    "personal_refused": {
        "keeper": "SELECT INSERT(digest,reason,source_offset,source_partition)",
        "api": _READS,
        "auditor": _READS,
    },
    "personal_erasures": {
        "keeper": "SELECT(erased_at,event_id)",
        "api": "SELECT INSERT(actor_id,event_id,reason,trace_id)",
        "auditor": _READS,
    },
    "personal_approvals": {"api": "SELECT INSERT(actor_id,event_id,reason,trace_id)", "auditor": _READS},
    "personal_disclosures": {
        "api": "SELECT INSERT(actor_id,fields,from_ts,reason,to_ts,trace_id)",
        "auditor": _READS,
    },
    "personal_forgotten": {"keeper": _READS, "api": _READS, "auditor": _READS},
    # what is derived from it
    "ranges": {"prover": _APPENDS, "archiver": _READS, "api": _READS, "auditor": _READS},
    "proofs": {"prover": _APPENDS, "archiver": _READS, "api": _APPENDS, "auditor": _READS},
    "checkpoints": {"prover": _APPENDS, "archiver": _READS, "api": _READS, "auditor": _READS},
    "tiles": {"prover": _APPENDS, "archiver": _READS, "api": _READS, "auditor": _READS},
    "tile_edges": {
        "prover": "SELECT INSERT UPDATE(hashes,tile_no)",
        "archiver": _READS,
        "api": _READS,
        "auditor": _READS,
    },
    "live_checkpoints": {
        "prover": "SELECT INSERT(next_offset,note,shard,tree_size,verdict_count) "
        "UPDATE(next_offset,note,signed_at,tree_size,verdict_count)",
        "api": _READS,
        "auditor": _READS,
    },
    "archive_objects": {"archiver": _APPENDS, "api": _READS, "auditor": _READS},
    "manifests": {"archiver": _APPENDS, "api": _READS, "auditor": _READS},
    # the audit chain: whoever has something to say leaves intents, the notary alone takes them
    "audit_outbox": {
        "prover": _LEAVES,
        "archiver": _LEAVES,
        "notary": _READS,  # and takes what it chained, by functions: take_intents, refuse_intents
        "api": f"SELECT {_LEAVES}",
        "auditor": _READS,
    },
    "refused_intents": {"api": _READS, "auditor": _READS},
    "audit_events": {"notary": _APPENDS, "archiver": _READS, "api": _READS, "auditor": _READS},
    "notary_cursor": {
        "notary": "SELECT UPDATE(published_seq)",
        "archiver": _READS,
        "api": _READS,
        "auditor": _READS,
    },
    # the chain's exports: the archiver alone has the archive's credentials
    "audit_export_ranges": {"archiver": _APPENDS, "api": _READS, "auditor": _READS},
    "audit_exports": {"archiver": _APPENDS, "api": _READS, "auditor": _READS},
    # an operator's decision that a lock is counted from now; its time is the database's
    "time_decisions": {
        "api": "SELECT INSERT(actor_id,reason,shard,trace_id,upto)",
        "prover": _READS,
        "auditor": _READS,
    },
    "lock_decisions": {
        "api": "SELECT INSERT(actor_id,object_key,reason,trace_id)",
        "archiver": _READS,
        "auditor": _READS,
    },
    # payouts: operators ask, approve, reject and release, in rows that triggers judge; the owner says who approves
    "payouts": {"api": "SELECT INSERT(actor_id,form,reason,request_id,trace_id)", "auditor": _READS},
    "payout_approvals": {"api": "SELECT INSERT(actor_id,form_hash,reason,request_id,role,trace_id)", "auditor": _READS},
    "payout_closings": {
        "api": "SELECT INSERT(actor_id,closing,form_hash,reason,request_id,trace_id)",
        "auditor": _READS,
    },
    "payee_holds": {"api": "SELECT INSERT(actor_id,currency,hold_id,payee,reason,trace_id)", "auditor": _READS},
    "payee_holds_lifted": {"api": "SELECT INSERT(actor_id,hold_id,reason,trace_id)", "auditor": _READS},
    "approver_changes": {"api": _READS, "auditor": _READS},
    "approval_limit_changes": {"api": _READS, "auditor": _READS},
    "payable_locks": {},  # there to be locked, by its function
    # the deployment itself
    "halts": {**dict.fromkeys((*PROCESS_ROLES, "api"), _HALTS), "auditor": _READS},
    "halts_lifted": {
        **dict.fromkeys((*PROCESS_ROLES, "auditor"), _READS),
        "api": "SELECT INSERT(actor_id,halt_no,reason,trace_id)",
    },
    # jobs of one session at a time, each row its role's alone; and a table that is there to be locked, by its function
    "job_holders": dict.fromkeys(("notary", "api"), "SELECT UPDATE(backend_start,pid,taken_by)"),
    "first_verdicts": {},
    "shard_halts": {"poster": "SELECT INSERT(at_offset,detail,kind,shard)", "api": _READS, "auditor": _READS},
    "shard_resumes": {
        "poster": _READS,
        "api": "SELECT INSERT(actor_id,allowed_offset,halt_id,reason,set_aside_offset,trace_id)",
        "auditor": _READS,
    },
    "deployment": dict.fromkeys(ROLES, _READS),
    "epochs": dict.fromkeys((role for role in ROLES if role not in READ_SIDE), _READS),
    "schema_migrations": {},
}


def granted(matrix: Mapping[str, Mapping[str, str]] = MATRIX) -> set[tuple[str, str, str]]:
    """The matrix as (table, database role, privilege), a column's privilege as `UPDATE(column)`."""
    return {
        (table, f"finance_{role}", single)
        for table, roles in matrix.items()
        for role, words in roles.items()
        for word in words.split()
        for single in _singles(word)
    }


def _singles(word: str) -> list[str]:
    privilege, _, columns = word.partition("(")
    return [f"{privilege}({column})" for column in columns.rstrip(")").split(",")] if columns else [privilege]
