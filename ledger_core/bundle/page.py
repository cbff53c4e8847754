"""README.html of a bundle: what it is, what is in it, and how to check it, for people. Pure.

Guarantees: one file of HTML and inline SVG, without script, network or style from elsewhere; every text that comes from
the record is escaped. It is computed from the statement's parts, so the same record gives the same bytes.
Does not: say that anything is sound: it says how to ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from ledger_core.bundle.statement import BundleShard

BAR_HEIGHT: Final = 120  # pixels of the highest bar
BAR_WIDTH: Final = 14
DAYS_DRAWN_MAX: Final = 400

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #ccc;"
    "text-align:right}pre{background:#f2f2f2;padding:1rem;overflow:auto}svg{max-width:100%}"
)


def page(env: str, from_ts: str, to_ts: str, shards: Sequence[BundleShard], days: Mapping[str, int]) -> bytes:
    """The page. `days`: day of recorded_at -> entries in the window."""
    total = sum(int(part.num_in_window) for part in shards)
    rows = "".join(_row(part) for part in shards)
    open_end = [str(part.shard) for part in shards if part.complete.after is None]
    note = (
        f"<p>The archive of shard {escape(', '.join(open_end))} ended before the window did when this was made: what"
        " was recorded later is not in it.</p>"
        if open_end
        else ""
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>Ledger {escape(env)}, {escape(from_ts)} to {escape(to_ts)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>Bundle for auditors: ledger {escape(env)}</h1>"
        f"<p>{total:,} entries recorded from {escape(from_ts)} up to, and without, {escape(to_ts)}. Nothing on this"
        " page proves anything: check the file.</p>"
        "<h2>Check it</h2><pre>finance verify bundle FILE.zip --signers signers.json\n"
        "unzip FILE.zip &amp;&amp; sh verify.sh signers.json</pre>"
        "<p>Take signers.json from where the operator publishes it, not from this file.</p>"
        "<h2>What is in it</h2><table><tr><th>shard</th><th>entries</th><th>in the window</th><th>sequences</th>"
        "<th>duplicates and rejected</th><th>entry before</th><th>entry after</th></tr>"
        f"{rows}</table>{note}<p>Batches are whole: they hold entries outside of the window too, and so the last entry"
        " before it and the first behind it.</p>"
        f"<h2>Entries a day</h2>{_chart(days)}</body></html>\n"
    ).encode()


def _row(part: BundleShard) -> str:
    cells = (
        str(part.shard),
        f"{int(part.num_entries):,}",
        f"{int(part.num_in_window):,}",
        f"{part.first_seq} to {part.last_seq}",
        f"{int(part.num_verdicts):,}",
        part.complete.before or "none",
        part.complete.after or "none yet",
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _chart(days: Mapping[str, int]) -> str:
    drawn = sorted(days.items())[:DAYS_DRAWN_MAX]
    if not drawn:
        return "<p>No entry was recorded in the window.</p>"
    most = max(days.values())
    bars = "".join(
        f'<rect x="{at * BAR_WIDTH}" y="{BAR_HEIGHT - count * BAR_HEIGHT // most}" width="{BAR_WIDTH - 3}" '
        f'height="{count * BAR_HEIGHT // most}" fill="#2a5db0"><title>{escape(day)}: {count:,}</title></rect>'
        for at, (day, count) in enumerate(drawn)
    )
    words = f"Entries a day, from {drawn[0][0]} to {drawn[-1][0]}; the most is {most:,}"
    return (
        f'<svg role="img" aria-label="{escape(words)}" width="{len(drawn) * BAR_WIDTH}" height="{BAR_HEIGHT}"'
        f' xmlns="http://www.w3.org/2000/svg">{bars}</svg><p>{escape(words)}.</p>'
    )
