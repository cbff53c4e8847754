"""Whether a database still has the guards that migrations gave it: triggers, constraints, functions, policies, grants.

Guarantees: everything that keeps the ledger append-only and balanced is described line by line and compared with
schema.txt (what a freshly migrated database says, tested) and with the matrix of `authority`; each difference is a
finding, so a trigger that was switched off, a constraint dropped or a grant widened is reported even when no row was
touched yet. Any role may ask: it reads the catalogue only.
Does not: see what a superuser did and undid (the chain and the proofs do), or compare indexes that are not unique.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Final

from ledger_core.findings import Collector, Report
from ledger_core.postgres.schema.authority import OWNER, PROJECTOR, READING_SCHEMAS, ROLES, granted
from ledger_core.postgres.schema.bounds import check_bounds
from ledger_core.postgres.session import Session

TABLES: Final = """
SELECT format('table %s owner %s row security %s%s', c.relname, pg_get_userbyid(c.relowner),
              CASE WHEN c.relrowsecurity THEN 'on' ELSE 'off' END,
              CASE WHEN c.relforcerowsecurity THEN ' forced' ELSE '' END)
  FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""

COLUMNS: Final = """
SELECT format('column %s.%s %s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"""

CONSTRAINTS: Final = """
SELECT format('constraint %s %s %s', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
  FROM pg_constraint k WHERE k.connamespace = 'public'::regnamespace AND k.conrelid <> 0 AND k.contype <> 'n'"""

UNIQUE: Final = """
SELECT format('unique %s', pg_get_indexdef(i.indexrelid)) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
 WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND i.indisvalid"""

TRIGGERS: Final = """
SELECT format('trigger %s %s', CASE t.tgenabled WHEN 'O' THEN 'on' WHEN 'D' THEN 'OFF' ELSE t.tgenabled::text END,
              pg_get_triggerdef(t.oid))
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal"""

FOREIGN_KEYS_OFF: Final = """
SELECT format('foreign key of %s switched off', t.tgrelid::regclass)
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
 WHERE c.relnamespace = 'public'::regnamespace AND t.tgisinternal AND t.tgenabled <> 'O'"""

# Schemas beside public: the read side's, and one named like a role of ours, which would stand first in what sessions
# of that role search. What others keep beside the ledger is theirs.
SCHEMAS: Final = """
SELECT format('schema %s owner %s', n.nspname, pg_get_userbyid(n.nspowner))
  FROM pg_namespace n WHERE n.nspname ~ '^(reading|finance)(_|$)'
UNION ALL
SELECT format('schema %s lets %s %s', n.nspname, coalesce(pg_get_userbyid(nullif(x.grantee, 0)), 'PUBLIC'),
              string_agg(x.privilege_type, ',' ORDER BY x.privilege_type))
  FROM pg_namespace n, aclexplode(n.nspacl) AS x
 WHERE n.nspname ~ '^(reading|finance)(_|$)' AND x.grantee <> n.nspowner GROUP BY n.nspname, x.grantee"""

FUNCTIONS: Final = """
SELECT format('function %s owner %s%s%s sha256 %s', p.oid::regprocedure, pg_get_userbyid(p.proowner),
              CASE WHEN p.prosecdef THEN ' SECURITY DEFINER' ELSE '' END, ' ' || array_to_string(p.proconfig, ' '),
              encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'))
  FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"""

EXECUTES: Final = """
SELECT format('execute %s by %s', p.oid::regprocedure,
              coalesce(string_agg(coalesce(r.rolname, 'PUBLIC'), ',' ORDER BY r.rolname)
                         FILTER (WHERE x.grantee <> p.proowner), 'nobody'))
  FROM pg_proc p LEFT JOIN aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x ON true
       LEFT JOIN pg_roles r ON r.oid = x.grantee
 WHERE p.pronamespace = 'public'::regnamespace GROUP BY p.oid"""

POLICIES: Final = """
SELECT format('policy %s %s %s to %s using %s check %s', tablename, policyname, cmd, array_to_string(roles, ','),
              coalesce(qual, '-'), coalesce(with_check, '-'))
  FROM pg_policies WHERE schemaname = 'public'"""

RULES: Final = """
SELECT format('rule %s %s', r.ev_class::regclass, r.rulename) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')"""

SWITCHES: Final = """
SELECT format('setting %s for %s', setting, coalesce(pg_get_userbyid(nullif(s.setrole, 0)), 'everybody'))
  FROM pg_db_role_setting s, unnest(s.setconfig) AS setting
 WHERE setting ~* '^(session_replication_role|row_security|search_path)='
   AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"""

GRANTS: Final = """
SELECT c.relname, coalesce(pg_get_userbyid(nullif(x.grantee, 0)), 'PUBLIC'), x.privilege_type
  FROM pg_class c, aclexplode(c.relacl) AS x
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND x.grantee <> c.relowner
UNION ALL
SELECT c.relname, coalesce(pg_get_userbyid(nullif(x.grantee, 0)), 'PUBLIC'), x.privilege_type || '(' || a.attname || ')'
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid, aclexplode(a.attacl) AS x
 WHERE c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped AND x.grantee <> c.relowner"""

ROLE_POWERS: Final = """
SELECT r.rolname, concat_ws(', ',
         CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreatedb THEN 'createdb' END,
         CASE WHEN r.rolcreaterole THEN 'createrole' END, CASE WHEN r.rolreplication THEN 'replication' END,
         CASE WHEN r.rolbypassrls THEN 'bypassrls' END,
         (SELECT 'member of ' || string_agg(pg_get_userbyid(m.roleid), ', ' ORDER BY 1)
            FROM pg_auth_members m WHERE m.member = r.oid),
         CASE WHEN r.rolname <> %(owner)s AND has_database_privilege(r.oid, current_database(), 'CREATE')
              THEN 'may create schemas' END,
         (SELECT 'may create in ' || string_agg(n.nspname, ', ' ORDER BY n.nspname)
            FROM pg_namespace n
           WHERE r.rolname <> %(owner)s AND n.nspname !~ '^pg_' AND has_schema_privilege(r.oid, n.oid, 'CREATE')
             AND NOT (r.rolname = %(projector)s AND n.nspname = ANY(%(reading)s))))
  FROM pg_roles r WHERE r.rolname = ANY(%(roles)s)"""

DESCRIBED: Final = (
    *(TABLES, COLUMNS, CONSTRAINTS, UNIQUE, TRIGGERS, FOREIGN_KEYS_OFF, FUNCTIONS, EXECUTES, POLICIES, RULES, SWITCHES),
    SCHEMAS,
)  # fmt: skip


def describe(connection: Session) -> list[str]:
    """Everything that guards the rows of this database, one line each, sorted."""
    return sorted({str(row[0]) for query in DESCRIBED for row in connection.execute(query.encode())})


def expected() -> list[str]:
    """What a database of this version says (schema.txt)."""
    text = (resources.files("ledger_core.postgres.schema") / "schema.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def actual_grants(connection: Session) -> set[tuple[str, str, str]]:
    """(table, grantee, privilege) as granted, without the owners' own."""
    return {(row[0], row[1], row[2]) for row in connection.execute(GRANTS.encode())}


def check_schema(connection: Session) -> Report:
    """Every difference to what migrations made, as findings `schema.<what>`, and each bound that is missing."""
    found = Collector()
    is_, wanted = describe(connection), expected()
    found.count("guards", len(is_))
    _differences(found, "schema.missing", "is gone or was changed", sorted(set(wanted) - set(is_)))
    _differences(found, "schema.unexpected", "was added or changed", sorted(set(is_) - set(wanted)))
    grants, decided = actual_grants(connection), granted()
    found.count("grants", len(grants))
    for table, role, privilege in sorted(grants - decided):
        found.add("schema.grant_too_wide", f"{role} has {privilege} on {table}", place=table)
    for table, role, privilege in sorted(decided - grants):
        found.add("schema.grant_missing", f"{role} lacks {privilege} on {table}", place=table)
    roles = [OWNER, *(f"finance_{role}" for role in ROLES)]
    names = {"roles": roles, "owner": OWNER, "projector": PROJECTOR, "reading": list(READING_SCHEMAS)}
    for role, powers in connection.execute(ROLE_POWERS.encode(), names):
        if powers:
            found.add("schema.role_too_strong", f"{role}: {powers}", place=role)
    check_bounds(connection, found)
    return found.report()


def _differences(found: Collector, code: str, what: str, lines: Iterable[str]) -> None:
    for line in lines:
        found.add(code, f"{line} {what}", place=line.split()[1])
