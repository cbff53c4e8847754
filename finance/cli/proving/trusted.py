"""The signer registry that a command goes by: what every command that verifies asks for."""

from __future__ import annotations

from pathlib import Path

import click

from finance.cli.common import load_settings
from finance.settings.deployment import Settings
from finance.wiring.registry_file import read_registry
from ledger_core.signing.registry import SignerRegistry

signers_option = click.option(
    "--signers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The signer registry to trust. Default: FINANCE_SIGNERS.",
)


def registry_of(signers: Path | None, settings: Settings | None = None) -> SignerRegistry:
    """The registry to trust: the file named, or FINANCE_SIGNERS. The KMS of the settings, if they name one, is asked
    about MACs. Raises Refused."""
    from finance.wiring.mac_keys import asking

    registry = read_registry(signers or (settings or load_settings()).signers_path)
    return asking(settings or load_settings(), registry) if registry.has_macs else registry
