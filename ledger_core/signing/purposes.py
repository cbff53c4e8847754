"""What a key may say: the kinds of signed statements, and the field of signers.json that names those of one key.

One key for everything lets whoever may use it say everything: a backup host could sign range proofs. A key with
`signs` counts for these kinds and for no other, whoever asks (`ledger_core.signing.counting`). A MAC key
(`ledger_core.signing.mac_keys`) counts for those of MAC_MAY_SIGN at most: who can verify a MAC could forge it.
Guarantees: the kinds are closed, and each says whether a MAC may sign it; a key without the field signs every kind, as
keys did before it was there.
Does not: keep a key service from signing other bytes. It makes what they say worthless.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Purpose = Literal["proof", "demand", "checkpoint", "manifest", "audit_event", "backup", "drill", "rules", "bundle"]
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
WORDS: Final[dict[Purpose, str]] = {
    "proof": "a range proof of the prover",
    "demand": "a proof that an operator asked for",
    "checkpoint": "a checkpoint",
    "manifest": "a manifest of the archive",
    "audit_event": "an event of the audit chain",
    "backup": "a backup or a list of WAL",
    "drill": "the report of a drill",
    "rules": "a control record that puts posting rules in force",
    "bundle": "a bundle for auditors",
}
# Whether a MAC may sign it. Where strangers verify, and nothing beside it is for them, it may not.
MAC_MAY_SIGN: Final[dict[Purpose, bool]] = {
    "proof": True,  # a cosignature beside it is what strangers verify
    "demand": True,
    "checkpoint": False,  # witnesses and auditors compare them, and hold us to them
    "manifest": False,  # the archive must be whole for who has nothing but the archive
    "audit_event": False,  # Kernel reads the chain; keys, their ends and approvals are announced there
    "backup": False,  # read where the key service may be lost too
    "drill": False,  # auditors read the report
    "rules": False,  # every poster reads it, and posting asks no key service
    "bundle": False,  # it is for strangers alone
}
# What each who signs has to say; the cosigner says what the prover and an operator say.
SIGNED_BY: Final[dict[str, frozenset[Purpose]]] = {
    "prover": frozenset({"proof", "checkpoint"}),
    "archiver": frozenset({"manifest"}),
    "notary": frozenset({"audit_event"}),
    "api": frozenset({"demand", "drill", "rules", "bundle"}),
    "backup": frozenset({"backup"}),
}
FIELD: Final = "signs"  # of a signer in signers.json; Kernel's tools pass it over


def parse_purposes(value: object) -> frozenset[Purpose]:
    """Read the field. Raises ValueError for another form: a bound that is not understood must not be passed over."""
    known: dict[str, Purpose] = {purpose: purpose for purpose in PURPOSES}
    if not isinstance(value, list) or not value or not all(isinstance(it, str) and it in known for it in value):
        raise ValueError(f"{FIELD} is not a list of {', '.join(PURPOSES)}, at least one")
    if len(set(value)) != len(value):
        raise ValueError(f"{FIELD} names a kind twice")
    return frozenset(known[it] for it in value)


def write_purposes(purposes: frozenset[Purpose]) -> list[str]:
    """The field, in the order of PURPOSES."""
    return [purpose for purpose in PURPOSES if purpose in purposes]
