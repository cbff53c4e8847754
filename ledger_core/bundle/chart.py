"""The charts of a bundle's README.html, as inline SVG: no script, and each figure as text beside it. Pure.

Guarantees: a chart has a title that says in words what it shows; colours come from the page's style, so that they fit
light, dark and paper. Does not: draw more than DAYS_DRAWN_MAX bars: longer windows are drawn month by month.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

DAYS_DRAWN_MAX: Final = 92
WIDTH: Final = 720  # of the drawing, in its own units
HEIGHT: Final = 150
BARS_MIN: Final = 14  # a few bars are not drawn wider than as many as this
SHARE_HEIGHT: Final = 26


def days_chart(days: Mapping[str, int]) -> str:
    """Bars, one a day (RFC 3339 date), or one a month where there are many days."""
    if not days:
        return "<p>No entry was recorded in the window.</p>"
    bars, unit = dict(sorted(days.items())), "day"
    if len(bars) > DAYS_DRAWN_MAX:
        months: dict[str, int] = {}
        for day, count in bars.items():
            months[day[:7]] = months.get(day[:7], 0) + count
        bars, unit = months, "month"
    names, most = list(bars), max(bars.values())
    words = f"Entries a {unit}, {names[0]} to {names[-1]}; the most is {most:,}"
    step = WIDTH / max(len(bars), BARS_MIN)
    drawn = "".join(_bar(at, name, count, most, step) for at, (name, count) in enumerate(bars.items()))
    return (
        f'<p class="dim">{escape(words)}.</p><svg role="img" aria-label="{escape(words)}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}" xmlns="http://www.w3.org/2000/svg">{drawn}'
        f'<path class="axis" d="M0 {HEIGHT}H{WIDTH}"/></svg>'
    )


def _bar(at: int, name: str, count: int, most: int, step: float) -> str:
    high = max(1.0, count * HEIGHT / most) if count else 0.0
    return (
        f'<rect class="bar" x="{at * step + step * 0.1:.1f}" y="{HEIGHT - high:.1f}" width="{step * 0.8:.1f}"'
        f' height="{high:.1f}"><title>{escape(name)}: {count:,}</title></rect>'
    )


def shares_chart(shares: Sequence[tuple[str, int, str]]) -> str:
    """One bar of parts: (name, count, class of its colour)."""
    total = sum(count for _, count, _ in shares)
    if total == 0:
        return "<p>No record is in these batches.</p>"
    words = "; ".join(f"{name}: {count:,}" for name, count, _ in shares)
    drawn, at = "", 0.0
    for name, count, colour in shares:
        wide = count * WIDTH / total
        if count:
            drawn += (
                f'<rect class="{colour}" x="{at:.1f}" y="0" width="{max(wide, 1.0):.1f}" height="{SHARE_HEIGHT}">'
                f"<title>{escape(name)}: {count:,}</title></rect>"
            )
        at += wide
    keys = " &nbsp; ".join(
        f'<span class="key" style="background:var(--{colour})"></span>{escape(name)} {count:,}'
        for name, count, colour in shares
    )
    return (
        f'<svg role="img" aria-label="{escape(words)}" viewBox="0 0 {WIDTH} {SHARE_HEIGHT}"'
        f' xmlns="http://www.w3.org/2000/svg">{drawn}</svg><p>{keys}</p>'
    )
