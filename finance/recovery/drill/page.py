"""The page of a drill's report: for people, made from the signed JSON and nothing else. Pure.

Guarantees: one file without scripts or anything from elsewhere; whatever stood in a damaged object is escaped.
Does not: prove anything: the JSON beside it is what is signed, and the page says how to verify it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from finance.recovery.drill.report import DrillFinding, DrillReport, DrillShardResult, KeyResult, Step, Way, WayResult

TITLES: Final[dict[Way, str]] = {
    "archive": "Archive: rebuilt from locked objects and public keys alone",
    "topic": "Topic: replayed from the settlements topic",
    "pitr": "Point in time: restored from base backup and WAL",
    "keys": "Keys: every signature of the history, and a new one",
}
FINDINGS_SHOWN_MAX: Final = 100

STYLE: Final = """
:root { color-scheme: light; --ink: #1c2430; --dim: #5b6675; --line: #dde2e9; --good: #14683a; --bad: #a3161a; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.5rem 4rem; color: var(--ink); background: #fff;
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .5rem; padding-top: 1.25rem; border-top: 2px solid var(--ink); }
h3 { font-size: .8rem; margin: 1.5rem 0 .4rem; color: var(--dim); text-transform: uppercase; letter-spacing: .05em; }
p { margin: .35rem 0; max-width: 46rem; }
.dim { color: var(--dim); }
.mark { display: inline-block; padding: .05rem .6rem; border-radius: .25rem; color: #fff; font-weight: 600;
  font-size: .85rem; white-space: nowrap; }
.good { background: var(--good); } .bad { background: var(--bad); }
table { border-collapse: collapse; width: 100%; margin: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--dim); font-weight: 500; font-size: .85rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.sum td { font-weight: 600; border-bottom: 0; }
code { font: .82rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.box { border: 1px solid var(--line); border-radius: .4rem; padding: .75rem 1rem; margin: 1rem 0; }
.found { border-left: 4px solid var(--bad); }
.found td:first-child { white-space: nowrap; }
@media print { body { padding: 0; } h2 { break-after: avoid; } table, .box { break-inside: avoid; } }
"""


def page_of(report: DrillReport, json_name: str, sha256: str) -> str:
    """The whole page. `json_name`: the file beside it; `sha256`: of that file."""
    title = f"Recovery drill {report.drill_id}"
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(title)} {_mark(report.sound)}</h1>",
            f'<p class="dim">Environment {escape(report.env)} &middot; {_when(report.started_at)} to '
            f"{_when(report.ts)} &middot; by {escape(report.actor_id)}</p>",
            f"<p>{_verdict(report)}</p>",
            _overview(report.ways),
            _signature(report, json_name, sha256),
            *(_way(way) for way in report.ways),
            _words(),
            "</body></html>\n",
        )
    )


def _verdict(report: DrillReport) -> str:
    ways = len(report.ways)
    if report.sound:
        return f"Every check passed: {ways} drill{'s' if ways > 1 else ''}, no finding. Exit code 0."
    bad = [escape(way.way) for way in report.ways if not way.sound]
    return f"Some checks failed: {', '.join(bad)}. The findings stand below. Exit code 1."


def _overview(ways: Sequence[WayResult]) -> str:
    rows = [
        (
            f'<a href="#{way.way}">{way.way}</a>',
            _mark(way.sound),
            _seconds(way.restore_milliseconds) if way.way != "keys" else "",
            _seconds(way.check_milliseconds),
            _number(way.counts.get("proof_hashes_reproduced", "0")) if way.way != "keys" else "",
            _behind(way.shards),
        )
        for way in ways
    ]
    heads = ("drill", "outcome", "restored in (RTO)", "checked in", "proofs reproduced", "behind the live ledger (RPO)")
    return _table(heads, rows, right=(2, 3, 4))


def _signature(report: DrillReport, json_name: str, sha256: str) -> str:
    name = escape(json_name)
    return (
        '<div class="box"><p>This page is made from a signed file and is not signed itself. Verify the file:</p>'
        f"<p><code>finance verify drill {name} --signers signers.json</code></p>"
        f'<p class="dim">signed by <code>{escape(report.signer_kid)}</code> ({escape(report.alg)})<br>'
        f"hash <code>{report.hash}</code><br>sha256 of {name} <code>{sha256}</code><br>"
        "Both stand on the audit chain as <code>drill.completed</code>.</p></div>"
    )


def _way(way: WayResult) -> str:
    parts = [f'<h2 id="{way.way}">{escape(TITLES[way.way])} {_mark(way.sound)}</h2>', _findings(way)]
    sources = ", ".join(f"<code>{escape(source)}</code>" for source in way.sources)
    parts.append(f"<h3>Sources</h3><p>{sources}</p>")
    if way.shards:
        parts.append("<h3>Restored, and how far behind</h3>" + _shards(way.shards))
    if way.audit is not None:
        seq, live = int(way.audit.seq), int(way.audit.live_seq)
        behind = f", {live - seq:,} behind" if seq < live else ""
        parts.append(f"<p>Audit chain: {seq:,} events restored, {live:,} were published{behind}.</p>")
    if way.balances:
        rows = [(escape(sums.currency), _number(sums.debits), _number(sums.credits)) for sums in way.balances]
        heads = ("currency, minor units", "debits", "credits")
        parts.append("<h3>Trial balance, restored</h3>" + _table(heads, rows, right=(1, 2)))
    if way.keys:
        parts.append("<h3>Keys of the registry, and signatures that name them</h3>" + _keys(way.keys))
    parts.append("<h3>Steps</h3>" + _steps(way.steps))
    counts = ", ".join(f"{_number(count)} {escape(name.replace('_', ' '))}" for name, count in way.counts.items())
    parts.append(f'<h3>Checked</h3><p class="dim">{counts or "nothing"}</p>')
    return "".join(parts)


def _findings(way: WayResult) -> str:
    if not way.findings:
        return "<p>No findings.</p>"
    shown = way.findings[:FINDINGS_SHOWN_MAX]
    rows = [(f"<code>{escape(f.code)}</code>", escape(f.message), _place(f)) for f in shown]
    total = len(way.findings) + int(way.findings_beyond_max)
    more = f"<p>{total - len(shown):,} more are in the file.</p>" if total > len(shown) else ""
    return f'<div class="box found">{_table(("finding", "what", "where"), rows)}{more}</div>'


def _place(finding: DrillFinding) -> str:
    told = [("shard", finding.shard), ("seq", finding.seq), ("field", finding.field)]
    words = [escape(f"{name} {value}") for name, value in told if value is not None]
    return "<br>".join(words + ([f"<code>{escape(finding.place)}</code>"] if finding.place else []))


def _shards(shards: Sequence[DrillShardResult]) -> str:
    rows = [
        (
            str(shard.shard),
            _number(shard.seq),
            _number(shard.next_offset),
            _behind([shard]),
            f'<code title="head">{shard.head_hash or "none"}</code><br><span class="dim">root at '
            f"{_number(shard.root_size)}</span> <code>{shard.root or 'none'}</code>",
        )
        for shard in shards
    ]
    return _table(("shard", "seq", "next offset", "behind", "head, and newest proved root"), rows, right=(1, 2))


def _keys(keys: Sequence[KeyResult]) -> str:
    places = list(dict.fromkeys(place for key in keys for place in key.statements))
    rows = [
        (
            f"<code>{escape(key.signer_kid)}</code>",
            escape(key.alg),
            f"{_day(key.deployed_at, 'always')} to {_day(key.retired_at, 'now')}",
            *(_number(key.statements.get(place, "0")) for place in places),
            "yes" if key.signs_now else "",
        )
        for key in keys
    ]
    heads = ("key", "algorithm", "in use", *(escape(place.replace("_", " ")) for place in places), "signs now")
    return _table(heads, rows, right=range(3, 3 + len(places)))


def _steps(steps: Sequence[Step]) -> str:
    rows = [(escape(s.name), s.phase, _seconds(int(s.milliseconds)), _amount(s), _rate(s)) for s in steps]
    return _table(("step", "phase", "time", "done", "rate"), rows, right=(2, 3, 4))


def _amount(step: Step) -> str:
    return f"{_number(step.done)} {escape(step.unit)}" if step.unit else ""


def _rate(step: Step) -> str:
    milliseconds = int(step.milliseconds)
    if not step.unit or not milliseconds:
        return ""
    return f"{int(step.done) * 1000 // milliseconds:,} {escape(step.unit)}/s"


def _words() -> str:
    return (
        '<h3>Words</h3><p class="dim">RPO is how far the restored ledger is behind the live one as it stood when the '
        "drill began: entries, source offsets, and the time between the newest entries' moments of record. RTO is the "
        "wall time of the steps marked restore. A proof is reproduced when its whole payload, computed again from "
        "restored rows, has the published hash.</p>"
    )


def _behind(shards: Sequence[DrillShardResult]) -> str:
    if not shards:
        return ""
    entries, offsets = (sum(int(getattr(s, name)) for s in shards) for name in ("behind_entries", "behind_offsets"))
    if not entries and not offsets:
        return "nothing"
    times = [int(s.behind_milliseconds) for s in shards if s.behind_milliseconds is not None]
    gap = _seconds(max(times)) if times else "all of it"
    return f"{entries:,} entries, {offsets:,} offsets, {gap}"


def _mark(sound: bool) -> str:
    return '<span class="mark good">sound</span>' if sound else '<span class="mark bad">findings</span>'


def _day(moment: str | None, otherwise: str) -> str:
    return moment[:10] if moment else otherwise


def _when(moment: str) -> str:
    return f"{moment[:10]} {moment[11:19]} UTC"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:,.1f} s"


def _number(text: str) -> str:
    return f"{int(text):,}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """`heads` and cells are HTML."""
    numbers = set(right)

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{' class=n' if n in numbers else ''}>{cell}</{tag}>" for n, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table>"
