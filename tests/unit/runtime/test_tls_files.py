"""Certificate files: found by one convention, and refused where no handshake could work with them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from finance.runtime.tls_watch import LOOK_SECONDS, TlsWatch
from finance.settings.deployment import Settings
from finance.settings.tls_database import database_tls_files, unsafe_address
from finance.settings.tls_files import TlsFiles, checked, in_folder, lifetime
from finance.workshop.devstack.authority import Authority, Pair
from ledger_core.errors import Refused

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("stack") / "tls")
    made.ensure(NOW)
    return made


def issued(authority: Authority, folder: Path, name: str = "poster", begins: int = -1, ends: int = 9) -> TlsFiles:
    """Files of a holder in `folder`, valid from and to so many days from now."""
    pair = Pair(folder / "tls.crt", folder / "tls.key")
    authority.issue(pair, name, NOW + begins * DAY, NOW + ends * DAY)
    return TlsFiles(authority.certificate, pair.certificate, pair.key)


def test_keys_of_a_stack_are_for_their_owner_alone(authority: Authority) -> None:
    assert {path.stat().st_mode & 0o777 for path in authority.folder.rglob("*.key")} == {0o600}


def test_certificates_near_their_end_are_made_anew_and_others_kept(authority: Authority) -> None:
    kept, late = authority.principal("poster"), authority.principal("prover")
    authority.issue(late, "prover", NOW - 29 * DAY, NOW + DAY)
    before, kept_before = late.certificate.read_bytes(), kept.certificate.read_bytes()
    authority.ensure(NOW)
    assert late.certificate.read_bytes() != before
    assert kept.certificate.read_bytes() == kept_before
    with pytest.raises(Refused, match="expired"):
        authority.ensure(NOW + 400 * DAY)


def test_a_folder_for_all_and_one_for_a_single_process_are_found(authority: Authority, tmp_path: Path) -> None:
    assert in_folder(authority.folder, "poster").certificate == authority.folder / "poster" / "tls.crt"
    assert in_folder(authority.folder, "poster").ca == authority.certificate
    mounted = tmp_path / "mounted"
    issued(authority, mounted)
    (mounted / "ca.crt").write_bytes(authority.certificate.read_bytes())
    found = in_folder(mounted, "poster")
    assert found == TlsFiles(mounted / "ca.crt", mounted / "tls.crt", mounted / "tls.key")
    with pytest.raises(Refused, match="no certificate for stranger") as caught:
        in_folder(authority.folder, "stranger")
    assert "stranger/tls.crt" in caught.value.remedy


def test_what_no_handshake_can_work_with_is_refused(authority: Authority, tmp_path: Path) -> None:
    good = issued(authority, tmp_path / "good")
    assert checked(good, NOW, strict=True) == good
    for name, begins, ends, words in (("old", -9, -1, "expired at"), ("early", 1, 9, "begins at")):
        with pytest.raises(Refused, match=words) as caught:
            checked(issued(authority, tmp_path / name, begins=begins, ends=ends), NOW, strict=False)
        assert caught.value.remedy
    other = issued(authority, tmp_path / "other")
    with pytest.raises(Refused, match="is not the key of"):
        checked(TlsFiles(good.ca, good.certificate, other.key), NOW, strict=False)
    with pytest.raises(Refused, match="is not a certificate in PEM"):
        checked(TlsFiles(good.key, good.certificate, good.key), NOW, strict=False)
    with pytest.raises(Refused, match="not a private key in PEM"):
        checked(TlsFiles(good.ca, good.certificate, good.certificate), NOW, strict=False)
    with pytest.raises(Refused, match=r"missing\.crt"):
        checked(TlsFiles(good.ca, tmp_path / "missing.crt", good.key), NOW, strict=True)


@pytest.mark.parametrize(
    ("file", "mode", "refused"),
    [("key", 0o644, True), ("key", 0o660, True), ("key", 0o600, False), ("certificate", 0o666, True),
     ("certificate", 0o644, False)],
)  # fmt: skip
def test_loose_files_are_refused_outside_dev_alone(
    authority: Authority, tmp_path: Path, file: str, mode: int, refused: bool
) -> None:
    files = issued(authority, tmp_path)
    (files.key if file == "key" else files.certificate).chmod(mode)
    assert checked(files, NOW, strict=False)
    if refused:
        with pytest.raises(Refused, match="others may read or change it") as caught:
            checked(files, NOW, strict=True)
        assert caught.value.remedy.startswith("chmod 06")
    else:
        assert checked(files, NOW, strict=True)


def test_kafka_options_name_the_files_of_who_acts(authority: Authority, tmp_path: Path) -> None:
    settings = Settings.from_env({"FINANCE_TLS_DIR": str(authority.folder)}, tmp_path)
    assert settings.kafka_options("notary")["ssl.key.location"] == str(authority.principal("notary").key)
    assert Settings.from_env({}, tmp_path).kafka_options("notary") == {}
    only_ca = Settings.from_env({"KAFKA_TLS_CA_FILE": "ca.pem"}, tmp_path).kafka_options("notary")
    assert only_ca == {"security.protocol": "ssl", "ssl.ca.location": str(tmp_path / "ca.pem")}
    own = authority.principal("kernel")
    given = {"KAFKA_TLS_CERT_FILE": str(own.certificate), "KAFKA_TLS_KEY_FILE": str(own.key)}
    both = Settings.from_env({**given, "FINANCE_TLS_DIR": str(authority.folder)}, tmp_path).kafka_options("notary")
    assert (both["ssl.key.location"], both["ssl.ca.location"]) == (str(own.key), str(authority.certificate))
    with pytest.raises(Refused, match="go together"):
        Settings.from_env({"KAFKA_TLS_CERT_FILE": "x"}, tmp_path).kafka_options("notary")
    with pytest.raises(Refused, match="nothing to trust"):
        Settings.from_env(given, tmp_path).kafka_options("notary")


def test_endpoints_of_your_own_get_the_bundle_and_aws_itself_none(authority: Authority, tmp_path: Path) -> None:
    needed = {"S3_AUDIT_BUCKET": "b", "S3_AUDIT_ACCESS_KEY": "a", "S3_AUDIT_SECRET": "s"}
    environ = {**needed, "FINANCE_TLS_DIR": str(authority.folder)}
    own = Settings.from_env({**environ, "S3_AUDIT_ENDPOINT": "https://s3:1"}, tmp_path).archive().tls
    assert own.ca_file == str(authority.certificate)
    assert own.client_pair == authority.principal("archiver").names
    aws = Settings.from_env(environ, tmp_path).archive().tls
    assert (aws.ca_file, aws.client_pair) == (None, None)
    plain = {**environ, "S3_AUDIT_ENDPOINT": "http://s3:1", "FINANCE_ENV": "staging", "FINANCE_DOMAIN": "a.b"}
    with pytest.raises(Refused, match="plain http"):
        Settings.from_env(plain, tmp_path).archive()
    reader = {**environ, "S3_AUDIT_READ_ACCESS_KEY": "r", "S3_AUDIT_READ_SECRET": "rs"}
    settings = Settings.from_env(reader, tmp_path)
    assert [settings.archive(name).access_key for name in ("archiver", "auditor")] == ["a", "r"]


@pytest.mark.parametrize(
    ("query", "mutual", "said"),
    [
        ("sslmode=verify-full&sslrootcert=/c&sslcert=/t&sslkey=/k", True, None),
        ("sslmode=verify-full&sslrootcert=system", False, None),
        ("", False, "X has sslmode=prefer"),
        ("sslmode=verify-ca&sslrootcert=/c", False, "X has sslmode=verify-ca"),
        ("sslmode=verify-full", False, "X has no sslrootcert"),
        ("sslmode=verify-full&sslrootcert=/c&sslcert=/t", True, "X has no client certificate"),
        ("sslmod=x", False, "X is not a Postgres address"),
    ],
)
def test_what_an_address_of_postgres_lacks_is_named(query: str, mutual: bool, said: str | None) -> None:
    found = unsafe_address("X", f"postgresql://r@db/f?{query}", mutual=mutual)
    assert found is None if said is None else found is not None and found.message.startswith(said)


def test_the_files_of_an_address_are_those_of_mutual_tls_alone() -> None:
    whole = "postgresql://r@db/f?sslmode=verify-full&sslrootcert=/c&sslcert=/t&sslkey=/k"
    assert database_tls_files(whole) == TlsFiles(Path("/c"), Path("/t"), Path("/k"))
    assert database_tls_files("postgresql://r@db/f?sslrootcert=system&sslcert=/t&sslkey=/k") is None


@pytest.mark.parametrize("role", ["poster", "api", "backup", "owner"])
def test_in_production_no_command_speaks_to_a_database_in_the_clear(tmp_path: Path, role: str) -> None:
    name = "DATABASE_URL" if role == "owner" else f"DATABASE_URL_{role.upper()}"
    given = {"FINANCE_ENV": "production", "FINANCE_DOMAIN": "a.b", name: "postgresql://r@db/f?sslmode=require"}
    settings = Settings.from_env(given, tmp_path)
    with pytest.raises(Refused, match=f"{name} has sslmode=require"):
        settings.owner_database_url() if role == "owner" else settings.database_url(role)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_new_files_are_taken_up_once_whole_and_never_when_expired(authority: Authority, tmp_path: Path) -> None:
    files, told, clock = issued(authority, tmp_path), {}, Clock()
    watch = TlsWatch(lambda which, ends: told.update({which: ends}), monotonic=clock, now=lambda: NOW)

    def looks() -> bool:
        clock.seconds += LOOK_SECONDS
        return watch.renewed()

    watch.begin({"client": files})
    assert told == {
        "client": lifetime(files.certificate).ends.timestamp(),
        "client_ca": lifetime(authority.certificate).ends.timestamp(),
    }
    assert not looks()
    issued(authority, tmp_path, ends=-1, begins=-2)
    assert not looks(), "an expired certificate is no renewal"
    key = files.key.read_bytes()
    issued(authority, tmp_path, ends=20)
    whole = files.key.read_bytes()
    files.key.write_bytes(key)
    assert not looks(), "half a pair is no renewal"
    files.key.unlink()
    assert not looks(), "a missing file is no renewal"
    files.key.write_bytes(whole)
    assert looks()
    watch.begin({"client": files})
    assert not looks()
    assert told["client"] == lifetime(files.certificate).ends.timestamp()


def test_a_process_without_certificates_watches_nothing() -> None:
    watch = TlsWatch(lambda *_: None)
    watch.begin({})
    assert not watch.renewed()
