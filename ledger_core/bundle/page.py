"""README.html of a bundle: what it is, what is in it, and how to check it, for people. Pure.

Guarantees: one file of HTML and inline SVG, without script, network or style from elsewhere; every text that comes from
the record is escaped. It is computed from the statement's parts and the record, so the same record gives the same
bytes. It reads on a phone, in the dark and on paper.
Does not: prove anything: it says what was found when it was made, and how to ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import Final

from ledger_core.books.money import exponent_of
from ledger_core.bundle.chart import days_chart, shares_chart
from ledger_core.bundle.matching import AskedEntry
from ledger_core.bundle.statement import BundleFilter, BundleShard

ASKED_SHOWN_MAX: Final = 20

_STYLE: Final = (
    ":root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--paper:#fff;--line:#d0d7de;--soft:#f3f5f7;"
    "--bar:#0b5cad;--two:#9a6700;--three:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9da7b1;--paper:#0d1117;--line:#30363d;--soft:#161b22;"
    "--bar:#6cb6ff;--two:#e3b341;--three:#ff8b82}}"
    "*{box-sizing:border-box}"
    "body{font:16px/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem;color:var(--ink);"
    "background:var(--paper)}"
    "h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}"
    "p{margin:.5rem 0}.dim{color:var(--dim)}"
    ".figures{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.2rem 0;padding:0;list-style:none}"
    ".figures li{flex:1 1 9rem;border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem;"
    "background:var(--soft)}.figures b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "td,th{padding:.35rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}th{font-weight:600;color:var(--dim)}"
    "pre{background:var(--soft);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;overflow-x:auto}"
    "code{font:14px/1.5 ui-monospace,monospace}svg{display:block;width:100%;height:auto}"
    ".bar{fill:var(--bar)}.two{fill:var(--two)}"
    ".three{fill:var(--three)}.axis{stroke:var(--line)}.key{display:inline-block;width:.8em;height:.8em;"
    "border-radius:.15em;margin-right:.35em}"
    "dd{margin:0 0 .6rem;overflow-wrap:anywhere;font-family:ui-monospace,monospace}"
    "@media print{body{max-width:none}.figures li{background:none}}"
)


@dataclass(slots=True)
class PageFacts:
    """What the page says. Counts are of the window unless they say otherwise."""

    env: str  # environment, such as prod
    from_ts: str  # first moment of the window, inclusive
    to_ts: str  # end of the window, exclusive
    asked: BundleFilter  # what was asked for beside it
    shards: list[BundleShard] = field(default_factory=list)  # of the statement
    empty: list[int] = field(default_factory=list)  # shards of which nothing is archived
    days: dict[str, int] = field(default_factory=dict)  # day of recorded_at -> entries
    totals: dict[str, int] = field(default_factory=dict)  # currency -> debits, in minor units; credits are equal
    reasons: dict[str, int] = field(default_factory=dict)  # reason of a verdict line -> lines, in the batches
    locked_until: str = ""  # the earliest end of a lock of the batches, RFC 3339
    audit_events: int = 0  # in the exports
    keys: Sequence[tuple[str, str, str]] = ()  # kid, algorithm, fingerprint
    openings: int | None = None  # personal data of so many events are in it; None: none was asked for

    def take_entry(self, entry: AskedEntry) -> None:
        """Count an entry of the window."""
        day = entry.recorded_at[:10]
        self.days[day] = self.days.get(day, 0) + 1
        for line in entry.lines:
            if line.side == "debit":
                self.totals[line.currency] = self.totals.get(line.currency, 0) + int(line.amount_minor)

    def take_verdict(self, reason: str) -> None:
        """Count a verdict line of the batches."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


def page(facts: PageFacts) -> bytes:
    """The page."""
    title = f"Ledger {facts.env}, {_day(facts.from_ts)} to {_end(facts.to_ts)}"
    parts = (_head(title), _first(facts), _check(), _shards(facts), _records(facts), _money(facts), _keys(facts))
    return ("".join(parts) + "</body></html>\n").encode()


def _head(title: str) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>"
    )


def _first(facts: PageFacts) -> str:
    inside = sum(int(part.num_in_window) for part in facts.shards)
    matching = sum(int(part.num_matching) for part in facts.shards)
    verdicts = sum(facts.reasons.values())
    asked = [*facts.asked.accounts, *facts.asked.settlements]
    figures = [(f"{inside:,}", "entries in the window"), (f"{verdicts:,}", "records that posted nothing")]
    if asked:
        figures.insert(1, (f"{matching:,}", "of them match what was asked for"))
    figures += [(f"{facts.audit_events:,}", "audit events"), (_day(facts.locked_until), "locked until, at least")]
    listed = "".join(f"<li><b>{escape(figure)}</b>{escape(words)}</li>" for figure, words in figures)
    shown = ", ".join(escape(name) for name in asked[:ASKED_SHOWN_MAX])
    more = f", and {len(asked) - ASKED_SHOWN_MAX:,} more" if len(asked) > ASKED_SHOWN_MAX else ""
    wanted = f"<p>Asked for: {shown}{more}. Each entry that matches stands in matching.jsonl.</p>" if asked else ""
    pii = (
        "<p>Personal data are not in it: an entry has a salted digest of them.</p>"
        if facts.openings is None
        else f"<p>Personal data of {facts.openings:,} events are in pii/openings.jsonl: keep this file accordingly.</p>"
    )
    return (
        f"<p>Entries recorded from {escape(facts.from_ts)} up to, and without, {escape(facts.to_ts)}.</p>"
        f'<ul class="figures">{listed}</ul>{wanted}{pii}'
        "<p>When this file was made, each entry, chain, tree, proof, manifest, lock and signature of the archive was"
        " checked, and there was no finding. That is our word alone: check it.</p>"
    )


def _check() -> str:
    return (
        "<h2>Check it yourself</h2>"
        "<p>Three programs, none of which needs our servers. Take signers.json from where the operator publishes it, or"
        " compare the fingerprints below with ones that you got on another way.</p>"
        "<p><b>In a browser.</b> Open verify.html, and choose this .zip and signers.json.</p>"
        "<p><b>With Finance.</b></p><pre><code>finance verify bundle FILE.zip --signers signers.json</code></pre>"
        "<p><b>With sh, openssl, zcat and sha256sum.</b></p>"
        "<pre><code>unzip FILE.zip -d bundle &amp;&amp; sh bundle/verify.sh signers.json</code></pre>"
    )


def _shards(facts: PageFacts) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("shard", "in the window", "entries here", "sequences", "before", "after")
    )
    rows = "".join(_row(part) for part in facts.shards)
    open_end = [str(part.shard) for part in facts.shards if part.complete.after is None]
    notes = []
    if open_end:
        words = f"The archive of shard {', '.join(open_end)} ended before the window did: what came later is not here."
        notes.append(words)
    if facts.empty:
        notes.append(f"Nothing of shard {', '.join(map(str, facts.empty))} was archived yet.")
    told = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        f'<h2>Nothing is left out</h2><div class="wide"><table><tr>{head}</tr>{rows}</table></div>'
        "<p>Batches are whole, and sequences have no gap. <i>Before</i> and <i>after</i> are the entries right outside"
        f" of the window: they are here, too, with their times.</p>{told}"
    )


def _row(part: BundleShard) -> str:
    cells = (
        str(part.shard),
        f"{int(part.num_in_window):,}",
        f"{int(part.num_entries):,}",
        f"{part.first_seq} to {part.last_seq}",
        part.complete.before or "the first is inside",
        part.complete.after or "none yet",
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _records(facts: PageFacts) -> str:
    posted = sum(int(part.num_entries) for part in facts.shards)
    again = facts.reasons.get("already_posted", 0)
    rejected = sum(facts.reasons.values()) - again
    shares = (("posted", posted, "bar"), ("duplicates", again, "two"), ("rejected or control", rejected, "three"))
    rows = "".join(
        f"<tr><td>{escape(reason)}</td><td>{count:,}</td></tr>" for reason, count in sorted(facts.reasons.items())
    )
    table = f"<table><tr><th>reason</th><th>records</th></tr>{rows}</table>" if rows else ""
    return (
        f"<h2>Entries a day</h2>{days_chart(facts.days)}"
        f"<h2>What became of each record of these batches</h2>{shares_chart(shares)}{table}"
    )


def _money(facts: PageFacts) -> str:
    rows = "".join(
        f"<tr><td>{escape(currency)}</td><td>{_amount(total, currency)}</td><td>{_amount(total, currency)}</td></tr>"
        for currency, total in sorted(facts.totals.items())
    )
    if not rows:
        return ""
    return f"<h2>Money of the window</h2><table><tr><th>currency</th><th>debits</th><th>credits</th></tr>{rows}</table>"


def _keys(facts: PageFacts) -> str:
    rows = "".join(
        f"<dt>{escape(kid)}, {escape(algorithm)}</dt><dd>{escape(fingerprint)}</dd>"
        for kid, algorithm, fingerprint in facts.keys
    )
    return (
        f"<h2>Keys in signers.json, with their fingerprints</h2><dl>{rows}</dl>"
        '<p class="dim">What each file is: docs/FORMATS.md of Finance, section Bundle.</p>'
    )


def _amount(total: int, currency: str) -> str:
    return f"{Decimal(total).scaleb(-exponent_of(currency)):,f}"


def _day(moment: str) -> str:
    return moment[:10] or "no batch"


def _end(moment: str) -> str:
    """The last day that a window's end includes, in words that do not claim a day it leaves out."""
    return moment[:10] if moment[10:] != "T00:00:00.000000Z" else f"before {moment[:10]}"
