"""Every setting Finance needs to work on a stack, as environment variables: what `env.json` holds.

Only what the stack's services give is set; everything else keeps the defaults of finance/settings/deployment.py.
"""

from __future__ import annotations

from finance.workshop.devstack import kms, postgres, s3
from finance.workshop.devstack.authority import authority_of
from finance.workshop.devstack.state import StackPlace, State

ROLES = ("poster", "prover", "archiver", "notary", "keeper", "projector", "reading", "api", "auditor")


def variables(place: StackPlace, state: State) -> dict[str, str]:
    env = {"FINANCE_ENV": "dev", "FINANCE_DOMAIN": "example.com", "FINANCE_STACK": place.name}
    trust = authority_of(state)
    if trust is not None:
        env["FINANCE_TLS_DIR"] = state.tls
        env["DOOR_TLS_DIR"], env["DOOR_CONFIG"] = str(trust.door_folder), str(trust.door_config)
    if "postgres" in state.services:
        env["DATABASE_URL"] = postgres.dsn(state)
        for role in ROLES:  # the login roles of migration 0005
            env[f"DATABASE_URL_{role.upper()}"] = postgres.dsn(state, user=f"finance_{role}")
    tools = postgres.tools(state) if "postgres" in state.services else None
    if tools is not None:
        env["DATABASE_URL_BACKUP"] = postgres.dsn(state, user=postgres.BACKUP_ROLE)
        env["PG_BIN"] = str(tools)
        env["BACKUP_PLACE"] = str(place.path / "backups")
        env["BACKUP_SPOOL"] = str(place.path / "backup-spool")
        env["BACKUP_RECIPIENTS"] = state.secrets.get(postgres.BACKUP_ROLE, "")
        env["BACKUP_IDENTITY_FILE"] = str(place.backup_identity_file)
    if "kafka" in state.services:
        env["KAFKA_BROKERS"] = f"127.0.0.1:{state.ports['kafka']}"
        env["FINANCE_TOPIC_PREFIX"] = ""
    if "s3" in state.services:
        env["S3_AUDIT_BUCKET"] = s3.bucket_name(place.name)
        env["S3_AUDIT_REGION"] = s3.REGION
        env["S3_AUDIT_ENDPOINT"] = s3.endpoint(state)
        env["S3_AUDIT_ACCESS_KEY"], env["S3_AUDIT_SECRET"] = s3.credentials(state, s3.WRITER)
        env["S3_AUDIT_READ_ACCESS_KEY"], env["S3_AUDIT_READ_SECRET"] = s3.credentials(state, s3.READER)
        env["BACKUP_S3_REGION"], env["BACKUP_S3_ENDPOINT"] = s3.REGION, s3.endpoint(state)
        env["BACKUP_S3_ACCESS_KEY"], env["BACKUP_S3_SECRET"] = s3.credentials(state, s3.KEEPER)
        env["S3_ADMIN_ACCESS_KEY"], env["S3_ADMIN_SECRET"] = s3.credentials(state, s3.ADMIN)  # tests and the demo
    if "kms" in state.services:
        env["KMS_ENDPOINT"] = kms.endpoint(state)
        env["KMS_REGION"] = kms.REGION
        env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"] = kms.ACCESS_KEY, kms.SECRET_KEY
        env["FINANCE_SIGNERS"] = str(place.signers_file)
        env["AUDIT_SIGNING_ALG"] = "ed25519"
        for name, algorithm in (("KMS_KEY_ED25519", "ed25519"), ("KMS_KEY_RSA", "rsa-sha256")):
            key = kms.current_key(state, algorithm)
            if key is not None:
                env[name] = key.key_id
        env["AUDIT_SIGNING_KMS_KEY_ID"] = env.get("KMS_KEY_ED25519", "")
    return env
