"""A shard's trees on the real servers: the archiver stores them under lock, as its own role, and the archive alone
answers whether a ledger only went on."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import tile_key, tiles_folder
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.tiles import GrowingTiles, TreeName
from ledger_core.tree import leaf_hashes
from producers.storage.archive_file import FileArchiveStore
from producers.storage.archive_s3 import S3ArchiveStore
from tests.support.command_line import Finance
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline
from tests.support.receipt_factory import leaves
from tests.support.waits import until

TREES: tuple[TreeName, ...] = ("entries", "verdicts")


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def listed(url: str) -> int:
    return int(
        rows(url, "SELECT coalesce(max(r.next_offset), 0) FROM ranges r, manifests m WHERE m.manifest_no = r.range_no")[
            0
        ][0]
    )


def copied(archive: S3ArchiveStore, folder: Path) -> FileArchiveStore:
    store = FileArchiveStore(folder)
    for kind in ("batches", "manifests", "tlog"):
        for stored in archive.versions(f"dev/{kind}/"):
            store.add_copy(stored, archive.get(stored.key, stored.version_id))
    return store


def test_the_archive_alone_says_whether_the_ledger_only_went_on(
    environ: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    pipeline = Pipeline(environ, limits=RangeLimits(200, 3600), idle_seconds=0.3, env="dev")
    shard = TinyShard().post(300).silence(270, reason="bad_field").post(30)
    signers, kept, log = tmp_path / "signers.json", tmp_path / "kept.note", tmp_path / "log"
    signers.write_bytes(pipeline.registry.to_json())
    finance = Finance({**environ, "FINANCE_SIGNERS": str(signers)})

    def grow(first_seq: int) -> None:
        write(database_url, shard)
        publish(pipeline.brokers, pipeline.topic, shard, first_seq=first_seq)
        with contextlib.closing(pipeline.prover()) as prover, contextlib.closing(pipeline.archiver()) as archiver:
            until(
                "all is listed",
                lambda: listed(database_url) == shard.next_offset,
                between=lambda: (prover.step(), archiver.step()),
            )

    grow(1)
    archive = pipeline.archive()
    address = f"s3://{environ['S3_AUDIT_BUCKET']}"
    for tree in TREES:
        held = {stored.key: stored for stored in archive.versions(tiles_folder("dev", 0, tree))}
        made = GrowingTiles().extend(leaf_hashes(leaves(shard, tree)))
        assert {key: archive.get(key) for key in held} == {
            tile_key("dev", 0, tree, tile.level, tile.number): tile.hashes for tile in made
        }
        assert made
        assert all(stored.mode == "COMPLIANCE" and stored.retain_until for stored in held.values())
    assert finance.json("verify", "archive")["counts"]["tiles"] == 2

    first = rows(database_url, "SELECT note FROM checkpoints ORDER BY next_offset LIMIT 1")[0][0]
    kept.write_bytes(first)
    away = Finance(
        {
            name: text
            for name, text in environ.items()
            if not name.startswith(("DATABASE_", "KAFKA_", "SIGNING_", "KMS_"))
        }
        | {"FINANCE_SIGNERS": str(signers)}
    )
    told = away.json("verify", "consistency", str(kept), "--archive", address)
    assert told["ok"]
    assert told["counts"]["entries_kept"] + told["counts"]["entries_appended"] == 330
    folder = tmp_path / "copy"
    copied(archive, folder)
    assert away.json("verify", "consistency", str(kept), "--archive", str(folder), "--keep")["kept"]
    assert kept.read_bytes() != first

    for source in ([], ["--archive", address]):
        written = finance.json("export", "tiles", str(log), "--shard", "0", *source)
        assert written["size"] == "330"
    assert (log / "checkpoint").read_bytes() == kept.read_bytes()
    names = sorted(str(path.relative_to(log)) for path in log.rglob("*") if path.is_file())
    assert names == [
        "checkpoint", "tile/0/000", "tile/0/001.p/74", "tile/1/000.p/1",
        "verdicts/tile/0/000", "verdicts/tile/0/001.p/14", "verdicts/tile/1/000.p/1",
    ]  # fmt: skip

    shard.post(400)
    grow(331)
    assert away.json("verify", "consistency", str(kept), "--archive", address)["counts"]["entries_appended"] == 400
    assert finance.json("export", "tiles", str(log), "--shard", "0", "--archive", address)["size"] == "730"
    said = finance("export", "tiles", str(log), "--shard", "0", "--archive", str(folder), code=3)
    assert "is not continued by" in said
    newest = parse_manifest(archive.get(sorted(it.key for it in archive.versions("dev/manifests/"))[-1])).checkpoint
    kept.write_text(newest)
    told = away.json("verify", "consistency", str(kept), "--archive", str(folder), code=1)
    assert told["findings"][0]["code"] == "consistency.shrunk"

    port = free_port()
    target = urlsplit(environ["DATABASE_URL_AUDITOR"])
    assert target.hostname is not None
    assert target.port is not None
    url = target._replace(netloc=target.netloc.replace(f":{target.port}", f":{port}")).geturl()
    monitor = Finance({**finance.environ, "DATABASE_URL_AUDITOR": url}).start(
        "verify", "consistency", str(kept), "--every", "0.2"
    )
    try:
        assert monitor.stderr is not None
        assert "not compared: postgres" in monitor.stderr.readline()
        with relay(port, (target.hostname, target.port)):
            said = next(line for line in monitor.stderr if "not compared" not in line)
        assert said.startswith("consistent: size 730")
        assert any("not compared" in line for line in monitor.stderr)
        assert monitor.poll() is None
    finally:
        monitor.terminate()
        monitor.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def relay(port: int, target: tuple[str, int]) -> Iterator[None]:
    """Forwards what comes to a port, as long as the block lasts."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection(target)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield
        server.shutdown(socket.SHUT_RDWR)
