"""The options that name a key which the settings do not sign with yet, and what commands about keys have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from rich.console import Console

from finance.cli.common import load_settings, load_topology_of, operator
from finance.settings import clock
from ledger_core.audit.admission import checked_words
from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, read_text

if TYPE_CHECKING:
    from finance.settings.deployment import Settings
    from finance.settings.variables import Kind
    from finance.signing.desk import Desk
    from ledger_core.ports import Algorithm

F = TypeVar("F", bound=Callable[..., Any])

EMERGENCY_HOURS_MAX: Final = 72
KINDS: Final = ("kms", "pkcs11", "transit", "proxy", "local")
idle_option = click.option("--idle", is_flag=True, help="All processes are restarted, and nothing was posted since.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")


address_option = click.option(
    "--address",
    "addresses",
    multiple=True,
    help="Of a signing proxy that the rotation names and these settings do not: its credentials go there.",
)
out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the keys file here (for SIGNING_KEYS_FILE)."
)
kernel_option = click.option(
    "--kernel",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Kernel's own signers.json. Default: KERNEL_SIGNERS_FILE.",
)


def kernel_copy(given: Path | None, settings: Settings, *, needed: bool) -> Path | None:
    """Kernel's copy of the registry. Raises Refused where it is needed and not known: Kernel would not verify."""
    from finance.wiring.registry_file import kernel_path

    path = given or kernel_path(settings)
    if path is None and needed and settings.env == "production":
        raise Refused(
            "whether Kernel has the key is not known",
            remedy="name its own signers.json: KERNEL_SIGNERS_FILE, or --kernel",
        )
    return path


def key_options(function: F) -> F:
    """`--kid`, `--kind`, `--key`, `--key-version` and `--alg`, of a key that strangers can check."""
    return key_options_of("rsa-sha256", "ed25519")(function)


def key_options_of(*algorithms: Algorithm) -> Callable[[F], F]:
    """The same of a key of one of these algorithms."""
    options = (
        click.option("--kid", required=True, help="The name that the new key gets in the registry, for ever."),
        click.option("--kind", type=click.Choice(KINDS), required=True, help="The key service that has it."),
        click.option("--key", required=True, help="Its id there: KMS id, token label, transit name, proxy URL, file."),
        click.option("--key-version", type=click.IntRange(1), help="Of a transit key: each version is another key."),
        click.option("--alg", type=click.Choice(algorithms), required=True, help="Its algorithm."),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def named(kid: str, kind: Kind, key: str, key_version: int | None, alg: str) -> dict[str, str]:
    """The variables that the options stand for."""
    from finance.signing.key_choice import variables_of

    checked_words("key", key)
    if key_version is not None and kind != "transit":
        raise click.UsageError("--key-version is for a transit key")
    return variables_of(kind, key, kid, alg, key_version)


def key_policy(path: Path | None, kind: Kind, env: str) -> str | None:
    """The text of a KMS key policy. Raises Refused when it is not a policy, or is needed and missing."""
    if path is not None and kind != "kms":
        raise click.UsageError("--policy is for a key in KMS")
    if path is None:
        if kind == "kms" and env == "production":
            raise Refused(
                "without a policy, KMS leaves it to the account who may sign with the new key",
                remedy="fill in deploy/kms/key-policy-ledger.json (`finance render kms-policy`): give it with --policy",
            )
        return None
    try:
        text = read_text(path, SETTINGS_BYTES_MAX)
        sound = isinstance(json.loads(text), dict) and "${" not in text
    except ValueError:
        sound = False
    if not sound:
        raise Refused(
            f"{path} is not a key policy that is filled in", remedy="give JSON in which no ${NAME} is left: envsubst"
        )
    return text


@contextmanager
def changing_desk(*, dry_run: bool = False, addresses: Sequence[str] = ()) -> Iterator[Desk]:
    """For a command that changes signers: nobody else does at the same time. Raises Refused."""
    desk = open_desk(dry_run=dry_run, addresses=addresses)
    with desk.alone():
        yield desk


def open_desk(*, dry_run: bool = False, addresses: Sequence[str] = ()) -> Desk:
    """Who asks about the registry of these settings, now. Raises Refused."""
    from finance.signing.desk import Desk

    settings = load_settings()
    return Desk(settings, load_topology_of(settings), operator(settings), clock.utc_now(), dry_run, addresses)


def show_diff(console: Console, diff: str) -> None:
    """The diff, or that there is none."""
    console.print(diff.rstrip() if diff else "signers.json stays as it is", markup=False)


def keys_file(settings: Settings, variables: Mapping[str, str], out: Path | None, *, dry_run: bool) -> str | None:
    """The text of the keys file with which a process signs as the variables say, written to `out` where one is given.
    None when no variable changes. Raises Refused when it cannot be written.
    """
    from finance.settings.key_file import to_toml
    from finance.signing.key_choice import keys_to_deploy
    from producers.storage.whole_file import replace_file

    if not variables:
        return None
    text = to_toml(keys_to_deploy(settings, variables))
    if out is not None and not dry_run:
        try:
            replace_file(out, text.encode())
        except OSError as error:
            raise Refused(f"{out} cannot be written ({error.strerror})", remedy="give another --out") from error
    return text


def show_keys(console: Console, text: str) -> None:
    """The keys file as it is, for prover, archiver and notary."""
    console.print(text.rstrip(), markup=False, highlight=False, soft_wrap=True)
