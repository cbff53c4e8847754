"""A file of the door that somebody gets wrong while it runs: the last good one stands, whatever is wrong with it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from finance.door.files import Reloaded
from tests.support.certificates import write_whole
from tests.support.doors import API_KEY, TestDoor, door_yaml, open_test_door, tls_client
from tests.support.waits import until

STRANGERS: Final = "{stranger_requests_per_second_max: 5000, requests_per_second_max: 5000}"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[TestDoor]:
    opened = open_test_door(tmp_path, door_yaml("optional", STRANGERS))
    yield opened
    opened.door.close()


# What an editor, a template or a full disk makes of door.yaml: text -> text, or bytes.
YAML: Final[dict[str, Callable[[str], str | bytes]]] = {
    "nothing": lambda text: "",
    "half of it": lambda text: text[: len(text) // 2],
    "no YAML": lambda text: "{",
    "an unknown key": lambda text: text + "\nnonsense: 1\n",
    "a day that does not exist": lambda text: text.replace("2099-01-01", "2099-02-30"),
    "a month that does not exist": lambda text: text.replace("2099-01-01", "2099-13-01"),
    "an hour that does not exist": lambda text: text.replace("T00:00:00Z", "T25:00:00Z"),
    "a list as a key": lambda text: text.replace("roles: {", "roles: {[a]: [look], "),
    "a mapping as a key": lambda text: text + "\n? {a: b}\n: c\n",
    "a number as a key": lambda text: text.replace("roles: {", "roles: {1: [look], "),
    "deep nesting": lambda text: "[" * 20_000,
    "a merge": lambda text: text.replace("roles: {", "roles: {<<: {other: [look]}, "),
    "a merge of no mapping": lambda text: text.replace("roles: {", "roles: {<<: [1], "),
    "binary that is none": lambda text: text + "\nx: !!binary zzz\n",
    "a class of Python": lambda text: text + "\nx: !!python/object/apply:os.system [true]\n",
    "a number of 5,000 digits": lambda text: text.replace("version: 1", "version: " + "1" * 5000),
    "a version in base 60": lambda text: text.replace("version: 1", "version: 1:1"),
    "no number where one belongs": lambda text: text.replace("limits: {", "limits: {body_bytes_max: .nan, "),
    "two documents": lambda text: text + "\n---\nversion: 1\n",
    "a reference to itself": lambda text: text + "\nx: &a [*a]\n",
    "UTF-16": lambda text: text.encode("utf-16"),
    "no text": lambda text: b"\xff\xfe\x00",
    "more than a megabyte": lambda text: text + "#" * 1_100_000,
}


def jwks(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        keys = json.loads(text)
        for key in keys["keys"]:
            change(key)
        return json.dumps(keys)

    return changed


JWKS: Final[dict[str, Callable[[str], str | bytes]]] = {
    "no JSON": lambda text: "{",
    "no text": lambda text: b"\xff",
    "no keys": lambda text: "{}",
    "a point off the curve": jwks(lambda key: key.update(x=key.get("y", key["x"]))),
    "a short key": jwks(lambda key: key.update(x=key["x"][:10])),
    "no base64": jwks(lambda key: key.update(x="*" + key["x"][1:])),
    "letters that are no ASCII": jwks(lambda key: key.update(x="é" * 43)),
    "a curve of its own": jwks(lambda key: key.update(crv="P-512")),
    "a private key": jwks(lambda key: key.update(d="AAAA")),
    "one kid twice": jwks(lambda key: key.update(kid="same")),
}


def stands(door: TestDoor, name: str, changed: str | bytes, what: str) -> None:
    write_whole(door.folder / name, changed if isinstance(changed, bytes) else changed.encode())
    token = door.issuer.token()
    for _ in range(3):
        assert door.ask().status == 200
        assert door.ask(pair=None, bearer=token).status == 200
        assert door.ask(pair=None, bearer=API_KEY).status == 200
    until("it says so", lambda: door.metrics.failures[what] > 0)
    assert door.metrics.failures[what] == 1, "once"


@pytest.mark.parametrize("fault", YAML)
def test_a_door_yaml_that_is_wrong_changes_nothing(door: TestDoor, fault: str) -> None:
    stands(door, "door.yaml", YAML[fault]((door.folder / "door.yaml").read_text()), "callers")


@pytest.mark.parametrize("fault", JWKS)
def test_keys_of_tokens_that_are_wrong_change_nothing(door: TestDoor, fault: str) -> None:
    stands(door, "keys.json", JWKS[fault]((door.folder / "keys.json").read_text()), "callers")


TLS_FILES: Final = ("tls.crt", "tls.key", "ca.crt", "crl.pem")


@pytest.mark.parametrize("name", TLS_FILES)
@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 100, b"-----BEGIN CERTIFICATE-----\nAAAA\n", b"-----BEGIN X509 CRL-----\n"]
)
def test_a_tls_file_that_is_wrong_changes_nothing(door: TestDoor, name: str, data: bytes) -> None:
    door.authority.write_crl(door.folder / "tls" / "crl.pem")
    assert door.ask().status == 200
    stands(door, f"tls/{name}", data, "certificates")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(300_000_000)


NO_FILES: Final[dict[str, Callable[[Path], object]]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "300 MB": sparse,
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["door.yaml", "keys.json", *(f"tls/{name}" for name in TLS_FILES)])
def test_what_is_no_file_changes_nothing_and_holds_up_nobody(door: TestDoor, name: str, kind: str) -> None:
    door.authority.write_crl(door.folder / "tls" / "crl.pem")
    assert door.ask().status == 200
    (door.folder / name).unlink()
    NO_FILES[kind](door.folder / name)
    assert door.ask().status == 200
    until("it says so", lambda: sum(door.metrics.failures.values()) == 1)
    assert door.ask().status == 200


@pytest.mark.parametrize("how", ["written over", "removed and made anew"])
def test_a_change_that_keeps_size_and_times_counts(door: TestDoor, how: str) -> None:
    """As archives and images give files one time, and file systems give an inode again."""
    looker, path = door.authority.issue("looker"), door.folder / "door.yaml"
    assert door.ask(pair=looker).status == 200
    found, text = path.stat(), path.read_text()
    if how != "written over":
        path.unlink()
    path.write_text(text.replace("subject:CN=looker", "subject:CN=cooker"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert path.stat().st_size == found.st_size
    assert door.ask(pair=looker).status == 401


def test_a_file_that_is_read_slowly_holds_up_nobody(tmp_path: Path) -> None:
    """A megabyte of YAML takes seconds, a disk of another machine for ever: until then the last good one stands."""
    path, go_on = tmp_path / "file", threading.Event()
    path.write_text("one")

    def read() -> str:
        text = path.read_text()
        assert text == "one" or go_on.wait(300)
        return text

    reloaded = Reloaded("file", lambda: [path], read, lambda what: None)
    path.write_text("another")
    assert [reloaded.current() for _ in range(3)] == ["one"] * 3
    go_on.set()
    until("it is read", lambda: reloaded.current() == "another")


# How tools, editors and copies leave a revocation list.
WRITTEN: Final[dict[str, Callable[[bytes], bytes]]] = {
    "as openssl does": lambda data: data,
    "without its last line end": lambda data: data.rstrip(b"\n"),
    "with CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "with CRLF, without the last": lambda data: data.replace(b"\n", b"\r\n").rstrip(b"\r\n"),
    "with words before and behind": lambda data: b"issued by us\n" + data + b"\nthe end",
    "twice": lambda data: data + data,
}


@pytest.mark.parametrize("written", WRITTEN)
def test_a_revocation_counts_however_the_list_is_written(door: TestDoor, written: str) -> None:
    """For the next request of a connection that is open, and for the next connection."""
    door.authority.write_crl(door.folder / "tls" / "crl.pem")
    connection = http.client.HTTPSConnection(
        "127.0.0.1", door.door.port, timeout=300, context=tls_client(door.authority.path, door.client)
    )
    connection.request("GET", "/look")
    assert connection.getresponse().read()
    scratch = door.folder / "new.pem"
    door.authority.write_crl(scratch, door.client)
    write_whole(door.folder / "tls" / "crl.pem", WRITTEN[written](scratch.read_bytes()))
    connection.request("GET", "/look")
    answer = connection.getresponse()
    assert (answer.status, b"CERTIFICATE_REVOKED" in answer.read()) == (401, True)
    connection.close()
    with pytest.raises(OSError, match=r"(?i)revoked|alert|reset|EOF"):
        door.ask()
    assert door.metrics.expiry["door_crl"] > 0


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
def test_half_a_revocation_list_is_none_and_the_last_good_one_stands(door: TestDoor, keep: float) -> None:
    crl = door.folder / "tls" / "crl.pem"
    door.authority.write_crl(crl, door.client)
    with pytest.raises(OSError, match=r"(?i)revoked|alert|reset|EOF"):
        door.ask()
    data = crl.read_bytes()
    write_whole(crl, data[: int(len(data) * keep)])
    with pytest.raises(OSError, match=r"(?i)revoked|alert|reset|EOF"):
        door.ask()
    assert door.metrics.failures["certificates"] == 1


def test_no_caller_takes_all_connections(door: TestDoor) -> None:
    """The one with the least role keeps as many as it can get; whoever comes next is served all the same."""
    looker = door.authority.issue("looker")
    context = tls_client(door.authority.path, looker)
    held, statuses = [], []
    for _ in range(64):
        raw = socket.create_connection(("127.0.0.1", door.door.port), timeout=300)
        sock = context.wrap_socket(raw, server_hostname="localhost")
        sock.sendall(b"GET /look HTTP/1.1\r\nHost: x\r\n\r\n")
        statuses.append(sock.recv(65_536).split(b" ")[1])
        held.append(sock)
    assert statuses.count(b"200") == 16
    assert statuses.count(b"429") == 48
    for _ in range(5):
        assert door.ask().status == 200
    for sock in held:
        sock.close()
