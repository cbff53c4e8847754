"""The keys of one process, by their kid: the one for what is new, others for what was written down for them.

Guarantees: a statement is signed by the key its own bytes name, or by none; so a rotation needs no drain: the process
holds the outgoing key beside the incoming one until nothing waits for it. A retired key signs only what was written
down before it was retired. A statement for a key that nobody configured waits, reported as a failure of that key.
Does not: decide which keys there are (`finance.wiring.signers` does, from the settings), or sign.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from consumers.metrics import Metrics
from consumers.signing.circuit import SignerCircuit
from ledger_core.errors import SignerFailure, SignerRefused
from ledger_core.ports import Algorithm
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.times import parse_time


class SignerSet:
    """`current` signs what is new, `others` only what names them, `cosigner` adds its signature to proofs.

    The clock gives UTC times, `monotonic` seconds. The set owns its signers, and they end with it.
    """

    def __init__(
        self,
        current: PinnedSigner,
        registry: SignerRegistry,
        *,
        clock: Callable[[], dt.datetime],
        monotonic: Callable[[], float],
        metrics: Metrics,
        others: Sequence[PinnedSigner] = (),
        cosigner: PinnedSigner | None = None,
    ) -> None:
        self._clock = clock
        self._registry = registry
        self._monotonic = monotonic
        self._metrics = metrics
        self._current = current
        self._by_kid: dict[str, SignerCircuit] = {}
        for signer in (current, *others):
            self._by_kid.setdefault(signer.kid, self._circuit(signer.kid, signer))
        self._cosigner = None if cosigner is None else self._circuit(cosigner.kid, cosigner)

    @property
    def kid(self) -> str:
        """The kid that new statements name."""
        return self._current.kid

    @property
    def algorithm(self) -> Algorithm:
        return self._current.algorithm

    @property
    def registered(self) -> RegisteredSigner:
        return self._current.registered

    @property
    def registry(self) -> SignerRegistry:
        """Every key that ever signed."""
        return self._registry

    def holds(self, kid: str) -> bool:
        """Whether this process signs with that key, for what is new or for what names it."""
        return kid in self._by_kid

    @property
    def ready(self) -> bool:
        """Whether it is time for a try with any key."""
        return any(circuit.ready for circuit in self._by_kid.values())

    def pin(self) -> None:
        """Ask for every key now, as far as they answer. Raises Refused when one is wrong, or may not be used."""
        for circuit in self._circuits():
            circuit.pin()

    def check_current(self) -> None:
        """Raise Refused when the key for new statements is retired meanwhile (an emergency key ends by itself): nothing
        may be written down for it any more."""
        retired_at = self._current.registered.retired_at
        if retired_at is not None and retired_at <= self._clock():
            raise SignerRefused(
                SignerFailure.REFUSED,
                f"signer {self.kid} is retired since {retired_at:%Y-%m-%dT%H:%M:%SZ}",
                remedy="restart with the variables of its successor, and this key as the outgoing one",
            )

    @contextmanager
    def attempt(self) -> Iterator[PinnedSigner]:
        """One try at a new statement: see SignerCircuit.attempt, also for what it raises."""
        self.check_current()
        with self._by_kid[self.kid].attempt() as signer:
            yield signer

    @contextmanager
    def attempt_written(self, kid: str, ts: str) -> Iterator[PinnedSigner]:
        """One try at a statement that was written down for the key `kid` at `ts`. Raises SignerRefused when the key was
        retired before `ts`.
        """
        with self._holding(kid).attempt() as signer:
            retired_at = signer.registered.retired_at
            if retired_at is not None and parse_time(ts) > retired_at:
                raise SignerRefused(
                    SignerFailure.REFUSED,
                    f"signer {kid} was retired at {retired_at:%Y-%m-%dT%H:%M:%SZ}, and this statement is of {ts}",
                    remedy="move retiredAt in signers.json to after the last statement that names this key",
                )
            yield signer

    @contextmanager
    def attempt_cosign(self, kid: str) -> Iterator[tuple[PinnedSigner, ...]]:
        """One try at cosigning what the key `kid` signed: by the cosigner, if there is one. Else what a MAC key signed
        that is no longer the current one is cosigned by the current one."""
        beside = self._beside(kid)
        if beside is None or beside.kid == kid:
            yield ()
            return
        with beside.attempt() as cosigner:
            yield (cosigner,)

    def close(self) -> None:
        for circuit in self._circuits():
            circuit.close()

    def _beside(self, kid: str) -> SignerCircuit | None:
        if self._cosigner is not None:
            return self._cosigner
        signer = self._registry.find(kid)
        return self._by_kid[self.kid] if signer is not None and signer.is_mac else None

    def _holding(self, kid: str) -> SignerCircuit:
        circuit = self._by_kid.get(kid)
        if circuit is None:
            nobody = SignerRefused(
                SignerFailure.NOT_CONFIGURED,
                f"a statement was written down for signer {kid}, and this process has {', '.join(self._by_kid)}",
                remedy="name that key in the table [outgoing] of SIGNING_KEYS_FILE until nothing waits for it",
            )
            circuit = self._by_kid[kid] = self._circuit(kid, nobody)
        return circuit

    def _circuits(self) -> list[SignerCircuit]:
        return [*self._by_kid.values(), *([] if self._cosigner is None else [self._cosigner])]

    def _circuit(self, kid: str, signer: PinnedSigner | SignerRefused) -> SignerCircuit:
        return SignerCircuit(kid, signer, self._monotonic, self._metrics)
