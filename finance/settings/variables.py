"""Every environment variable this service reads, once, with its meaning.

Guarantees: closed world: `finance.settings.deployment` reads no other name, and docs/CONFIGURATION.md is this table
(tested).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

ROLES: Final = ("poster", "prover", "archiver", "notary", "keeper", "projector", "reading", "api", "auditor")
PROCESSES: Final = ("poster", "prover", "archiver", "notary", "keeper", "projector")

SIGNING_PROXY: Final = "signing-proxy"
PROXY_SCOPES: Final = ("sign", "verify", "metrics")  # what the roles of its door.yaml may name

SIGNING = "prover, archiver, notary, prove"
ARCHIVE = "archiver, prover, verify archive"
Kind = Literal["kms", "pkcs11", "transit", "proxy", "local"]

# Which keys sign beside the one for what is new, a keys file alone says. Inside, their values go by the same names with
# these before them.
OUTGOING: Final = "OUTGOING_"  # signs what was written down for it before a rotation
COSIGNER: Final = "COSIGNER_"  # adds a second signature to proofs and checkpoints

# For each kind of key service, the variable that names a key of it: whichever is set decides the kind.
KEY_VARIABLES: Final[dict[Kind, str]] = {
    "kms": "AUDIT_SIGNING_KMS_KEY_ID",
    "pkcs11": "AUDIT_SIGNING_PKCS11_KEY",
    "transit": "AUDIT_SIGNING_TRANSIT_KEY",
    "proxy": "SIGNING_PROXY_URL",
    "local": "AUDIT_SIGNING_KEY_FILE",
}
# What names a key and is not a secret; connections, and the secrets for them, are shared by all keys of a kind.
NAMES_A_KEY: Final = (
    "AUDIT_SIGNING_KIND",
    "AUDIT_SIGNING_KID",
    "AUDIT_SIGNING_ALG",
    *KEY_VARIABLES.values(),
    "AUDIT_SIGNING_TRANSIT_KEY_VERSION",
)
BACKUP = "backup create, stream"


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable. `default` None: no default; then `needed_by` says who refuses to start without it."""

    name: str  # as the environment spells it
    meaning: str  # one line for the table in docs/CONFIGURATION.md
    default: str | None = ""
    needed_by: str = ""
    secret: bool = False  # then `<name>_FILE` may name a file that holds the value


def _signer() -> tuple[Variable, ...]:
    """The variables that choose the one signing key; a keys file names it, and up to two others, in their place."""
    kinds = ", ".join(f"`{kind}`" for kind in KEY_VARIABLES)
    return (
        Variable("AUDIT_SIGNING_KIND", f"{kinds}; unset: by which of their variables is set"),
        Variable("AUDIT_SIGNING_KID", "signer_kid in the registry, so that a start needs no key service"),
        Variable(
            "AUDIT_SIGNING_ALG",
            "`rsa-sha256` (2048 bits or more), `ed25519`, or for range proofs alone `hmac-sha256` (an HMAC_256 key of "
            "KMS)",
            "rsa-sha256",
        ),
        Variable(
            "AUDIT_SIGNING_MAC_WAIVER",
            "`name: reason`: who decided that proofs carry a MAC alone; in production `hmac-sha256` needs this, or a "
            "`[cosigner]`",
        ),
        Variable(
            "AUDIT_SIGNING_KMS_KEY_ID",
            "id, ARN or alias of the key in KMS",
            needed_by=f"{SIGNING}: this or another kind of key",
        ),
        Variable("AUDIT_SIGNING_PKCS11_KEY", "label of the key on the PKCS#11 token"),
        Variable("AUDIT_SIGNING_TRANSIT_KEY", "name of the key in the transit engine"),
        Variable("AUDIT_SIGNING_TRANSIT_KEY_VERSION", "its version; 0: the newest at the start", "0"),
        Variable("SIGNING_PROXY_URL", "address of the signing proxy, https"),
        Variable("SIGNING_PROXY_API_KEY", "bearer key for the signing proxy", secret=True),
        Variable("AUDIT_SIGNING_KEY_FILE", "PEM file of a key, refused in production"),
        Variable(
            "SIGNING_KEYS_FILE",
            "TOML file of the keys that sign, instead of the variables above (but SIGNING_PROXY_API_KEY): tables "
            "`[signing]`, `[outgoing]`, `[cosigner]` (docs/SIGNING.md)",
        ),
    )


def _role(role: str, needed_by: str) -> Variable:
    meaning = f"Postgres address of the role finance_{role}; in dev DATABASE_URL will do"
    return Variable(f"DATABASE_URL_{role.upper()}", meaning, None, needed_by, secret=True)


# Checked by the guards of a start (finance/guards); truths are true, 1, yes or y, in any case.
GUARDED: Final = (
    Variable("NODE_ENV", "what the platform says: must be `production` exactly when FINANCE_ENV is"),
    Variable("REQUIRE_KMS", "a key in KMS, an HSM or a transit engine is configured and answers, or nothing starts"),
    Variable("REQUIRE_SIGNING_PROXY", "the same of a signing proxy; in production at least one of the two is true"),
    Variable("REQUIRE_MTLS", "certificates are configured on every hop (in production they always must be)"),
    Variable("DEV_SKIP_MTLS", "for a development machine; refused in production when true"),
    Variable(
        "KERNEL_SIGNERS_FILE",
        "path of Kernel's own signers.json, as it is deployed there: `rotate deploy`, `rotate prove`, `signers check` "
        "and the doctor compare with it (`--kernel` is the same for one command); in production the first two want it",
    ),
    Variable("SENTRY_DSN", "where errors are reported; nothing is sent yet, the guards check the address", secret=True),
    Variable("OTEL_COLLECTOR_URL", "where traces go; nothing is sent yet, the guards check the address"),
    Variable("PROM_ENDPOINT", "where metrics are pushed; nothing is sent yet, the guards check the address"),
    Variable(
        "FINANCE_ADMIN_TOKEN",
        "token of internal tooling: 32 random characters or more, no other secret; nothing asks for it yet, the guards "
        "check it",
        secret=True,
    ),
    Variable("PORT", "port of the HTTP API; nothing listens there yet, the guards check it"),
)

VARIABLES: Final[tuple[Variable, ...]] = (
    Variable("FINANCE_ENV", "`dev`, `staging` or `production`; part of proofs, checkpoints, object names", "dev"),
    Variable(
        "FINANCE_DOMAIN",
        "names checkpoint origins `<domain>/finance/<env>/ledger/<shard>`; outside dev set it",
        "example.com",
    ),
    Variable("FINANCE_STACK", "the dev stack whose `.finance/<stack>/env.json` fills what is not set (dev)", "dev"),
    Variable("FINANCE_TOPOLOGY", "path of the topology file", "topology.yaml"),
    Variable("FINANCE_TOPIC_PREFIX", "put before topic and group names: several ledgers on one broker"),
    Variable("FINANCE_SIGNERS", "path of the signer registry, signers.json", None, f"poster, {SIGNING}, verify"),
    Variable("DATABASE_URL", "Postgres address of the owner, who migrates", None, "migrate", secret=True),
    _role("poster", "poster"),
    _role("prover", "prover"),
    _role("archiver", "archiver"),
    _role("notary", "notary"),
    _role("keeper", "keeper"),
    Variable(
        "DATABASE_URL_PROJECTOR",
        "Postgres address of the role finance_projector, in the ledger's database or one of the read side's own; in "
        "dev DATABASE_URL will do",
        None,
        "projector, projection rebuild",
        secret=True,
    ),
    Variable(
        "DATABASE_URL_READING",
        "Postgres address of the role finance_reading, which asks the read side: the database of "
        "DATABASE_URL_PROJECTOR; in dev DATABASE_URL will do",
        None,
        "settlement, order, account, payables, report, balances, projection status, verify",
        secret=True,
    ),
    _role("api", "status, halt, resume, balances, entry, dlq, prove"),
    _role("auditor", "verify ledger, verify audit"),
    Variable(
        "DATABASE_URL_BACKUP",
        "Postgres address of finance_backup, a role with REPLICATION; in dev DATABASE_URL will do",
        None,
        "backup create, stream, prune",
        secret=True,
    ),
    Variable(
        "DRILL_DATABASE_URL",
        "Postgres address of a scratch server, as a role that may create databases and roles: drills make theirs there",
        secret=True,
    ),
    Variable("KAFKA_BROKERS", "bootstrap servers, `host:port,host:port`", None, "every process, topics, publish, dlq"),
    Variable(
        "FINANCE_TLS_DIR",
        "folder of certificates as cert-manager mounts them: `ca.crt`, and `<process>/tls.crt`, `<process>/tls.key` "
        "(or these two directly, for one process): mutual TLS with Kafka, and with S3 and KMS endpoints of your own",
    ),
    Variable("FINANCE_CA_FILE", "bundle of trusted authorities, instead of `ca.crt` in FINANCE_TLS_DIR"),
    Variable("KAFKA_TLS_CA_FILE", "the brokers' authorities, if others; alone: TLS without a client certificate"),
    Variable("KAFKA_TLS_CERT_FILE", "client certificate towards Kafka, if another than FINANCE_TLS_DIR's"),
    Variable("KAFKA_TLS_KEY_FILE", "its private key; the two go together"),
    Variable("KAFKA_GROUP_PROTOCOL", "`consumer` (KIP-848) or `classic` (cooperative-sticky)", "consumer"),
    Variable(
        "KAFKA_GROUP_INSTANCE_ID", "static membership: this host's stable name, so that a quick restart moves no shard"
    ),
    Variable("S3_AUDIT_BUCKET", "bucket of the audit archive; must have Object Lock", None, ARCHIVE),
    Variable("S3_AUDIT_REGION", "its region", "us-east-1"),
    Variable("S3_AUDIT_ENDPOINT", "its endpoint, for stores other than AWS"),
    Variable("S3_AUDIT_ACCESS_KEY", "access key of the archive", None, ARCHIVE, secret=True),
    Variable("S3_AUDIT_SECRET", "secret of the archive", None, ARCHIVE, secret=True),
    Variable("S3_AUDIT_READ_ACCESS_KEY", "access key of a reader, for commands that only read; else the archive's"),
    Variable("S3_AUDIT_READ_SECRET", "its secret", secret=True),
    Variable("S3_AUDIT_CA_FILE", "authorities that S3_AUDIT_ENDPOINT's certificate is checked with, if others"),
    *_signer(),
    Variable("KMS_REGION", "region of the KMS", "us-east-1"),
    Variable("KMS_ENDPOINT", "its endpoint, for a KMS other than AWS"),
    Variable("KMS_CA_FILE", "authorities that KMS_ENDPOINT's certificate is checked with, if others"),
    Variable(
        "AWS_ACCESS_KEY_ID",
        "credentials for KMS; without them the AWS SDK uses its default credential chain",
        secret=True,
    ),
    Variable("AWS_SECRET_ACCESS_KEY", "see AWS_ACCESS_KEY_ID", secret=True),
    Variable("PKCS11_MODULE", "path of the HSM vendor's PKCS#11 library"),
    Variable("PKCS11_TOKEN", "label of the token that has the key"),
    Variable("PKCS11_PIN", "its user PIN; a wrong one is tried once, since tokens lock", secret=True),
    Variable("TRANSIT_URL", "address of the Vault or OpenBao server, https"),
    Variable("TRANSIT_MOUNT", "path of its transit engine", "transit"),
    Variable("TRANSIT_TOKEN", "token with read on keys/<name> and update on sign/<name>", secret=True),
    Variable("TRANSIT_CA_FILE", "authorities that TRANSIT_URL's certificate is checked with, if others"),
    Variable("SIGNING_PROXY_CA_FILE", "authorities that SIGNING_PROXY_URL's certificate is checked with, if others"),
    Variable(
        "BACKUP_PLACE", "where backups and WAL are kept, encrypted: a folder, or `s3://bucket/prefix`", None, "backup"
    ),
    Variable("BACKUP_S3_REGION", "region of the bucket in BACKUP_PLACE", "us-east-1"),
    Variable("BACKUP_S3_ENDPOINT", "its endpoint, for stores other than AWS"),
    Variable("BACKUP_S3_ACCESS_KEY", "access key of a bucket in BACKUP_PLACE or --also", secret=True),
    Variable("BACKUP_S3_SECRET", "its secret", secret=True),
    Variable("BACKUP_S3_CA_FILE", "authorities that BACKUP_S3_ENDPOINT's certificate is checked with, if others"),
    Variable(
        "BACKUP_S3_LOCK_MODE",
        "`COMPLIANCE` or `GOVERNANCE`: how files are locked, for BACKUP_KEEP_DAYS, in a bucket with Object Lock",
        "COMPLIANCE",
    ),
    Variable("BACKUP_RECIPIENTS", "age public keys (`age1...`, by commas) that backups are encrypted to", None, BACKUP),
    Variable("BACKUP_IDENTITY_FILE", "file of a private age identity: for restores alone", None, "backup restore"),
    Variable("BACKUP_SPOOL", "local folder where WAL waits until it is stored", ".finance/spool"),
    Variable("BACKUP_SLOT", "replication slot of the stream", "finance_backup"),
    Variable(
        "BACKUP_PARTIAL_SECONDS", "the unfinished WAL segment is stored this often: what may be lost at most", "5"
    ),
    Variable("BACKUP_KEEP_DAYS", "`backup prune` keeps a restore to every moment of so many days", "14"),
    Variable("BACKUP_KEEP_LAST", "and so many backups at least", "2"),
    Variable("BACKUP_METRICS_PORT", "port of the stream's metrics; 0 takes a free one", "0"),
    Variable("PG_BIN", "folder of Postgres's tools (pg_basebackup, ...); default: PATH"),
    Variable("METRICS_HOST", "address on which `/metrics` and `/healthz` listen", "127.0.0.1"),
    *(
        Variable(f"{process.upper()}_METRICS_PORT", f"port of the {process}'s metrics; 0 takes a free one", "0")
        for process in PROCESSES
    ),
    Variable(
        "DOOR_TLS_DIR",
        "folder of `tls.crt`, `tls.key`, the clients' `ca.crt`, and `crl.pem` where certificates are revoked; without "
        "it HTTP is plaintext, on loopback only",
    ),
    Variable("DOOR_CONFIG", "path of door.yaml: who may come in, as whom, and the limits; goes with DOOR_TLS_DIR"),
    Variable("SIGNING_PROXY_HOST", "address on which the signing proxy listens", "127.0.0.1"),
    Variable("SIGNING_PROXY_PORT", "its port; 0 takes a free one", "8443"),
    Variable("SIGNING_PROXY_LOG", "path of its append-only log", None, "signing-proxy"),
    Variable("SIGNING_PROXY_LOG_BYTES_MAX", "bytes of one part of it; the next line begins another", "268435456"),
    Variable(
        "SIGNING_PROXY_LOG_MAC_KEY",
        "id, ARN or alias of an HMAC_256 key in KMS, of this log alone: it is sealed with that (KMS_REGION and so on)",
    ),
    Variable("SIGNING_PROXY_WITNESS_STATE", "what it last signed for each log; default: beside SIGNING_PROXY_LOG"),
    Variable(
        "SIGNING_PROXY_USED",
        "folder of the tokens and nonces that were used, the same for all proxies of the same callers; default: beside "
        "SIGNING_PROXY_LOG",
    ),
    Variable(
        "HANG_SECONDS",
        "a process in which nothing ended for this long says where it hangs, and ends with code 4",
        "120",
    ),
    Variable("HEALTH_STALL_SECONDS", "`/healthz` answers 503 when no step was finished for this long", "30"),
    Variable("FINANCE_OPERATOR", "who acts, where no certificate `operator.<name>` says it; default: the OS user"),
    Variable("FINANCE_LOG_FORMAT", "`json`, `console`, or `auto`: console on a terminal, else json", "auto"),
    *GUARDED,
    Variable("FINANCE_LOG_LEVEL", "`debug`, `info`, `warning` or `error`", "info"),
)
