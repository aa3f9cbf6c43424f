"""The vocabulary of metrics as one Markdown page: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, takewhile
from typing import Any

Row = dict[str, Any]

INTRODUCTION = """# Metrics

Every name that rules, toplists and `jetscan metrics` know. Generated: `jetscan metrics --list --markdown`; a test holds it equal to
the code. The recursions behind RSI, ATR, averages and bands, and what they were compared with, are in [indicators.md](indicators.md).

- **Absent.** What cannot be computed has no value. A condition on it is unknown, its negation is unknown as well, and unknown never fires.
- **Warm-up** is what a name needs before its first value. A candle is a closed one; a minute without trades makes none. A day is a
  completed trading day, told by `--daily` or traded before. A bar is a closed minute.
- **Windows of minutes** end now and hold the running minute and the minutes before it, by the clock. A minute without trades is a gap: it adds no volume and has no price. At a clock event on a whole minute
  the window is the minutes that just ended. The price N minutes ago is the close of the newest bar at least that old, up to 250 minutes.
- **Days** begin at 04:00 in New York; the regular session is 09:30 to 16:00, holidays and early closes of the exchange included. Around the clock a
  day is a UTC day.
- **Sessions and threshold** are the documented defaults of a condition: the sessions it is meant for, and that the day's real volume (`volume_daily`) has
  reached the shares.
- **Signed.** Distances from the VWAP and from averages are signed: toplists rank both sides by them.
- **Crossings.** The price before was strictly on one side, or on the level after having been there, and this one is strictly on the other. The first price after a
  day's start, a halt or a gap in the feed crosses nothing.
- **Parameters** are the numbers a formula rests on, at their defaults.
"""
KINDS = {
    "base": "## The running minute and the last bar",
    "indicator": "## Indicators of one-minute bars",
    "part": "## Parts of indicators",
    "filter": "## Filters",
    "alert": "## Alert metrics\n\nMade for one condition. Flags are 1 or 0; those that change with a candle keep their value until the next one closes.",
    "helper": "## Helpers",
    "toplist": "## System toplists\n\nThe best 50 by one metric, every second. Symbols without a print for five minutes leave.",
}
COLUMNS = ("names", "title", "formula", "unit", "warm-up", "sessions", "threshold, shares", "needs", "source")  # fmt: skip
ALERT_COLUMNS = (*COLUMNS[:6], "condition", "parameters", "changes on", *COLUMNS[6:])


def metric_page(rows: list[Row]) -> list[str]:
    """The lines of the page, from rows as a function's `ask.metrics` lists them: by kind, one row per family."""
    lines = INTRODUCTION.splitlines()
    for kind, heading in KINDS.items():
        mine = [row for row in rows if row["kind"] == kind]
        if mine:
            lines += ["", heading, "", *(_toplists(mine) if kind == "toplist" else _table(mine))]
    return lines


def _table(rows: list[Row]) -> Iterator[str]:
    is_alert = rows[0]["kind"] == "alert"
    titles = ALERT_COLUMNS if is_alert else COLUMNS
    yield _line(titles)
    yield "|" + "---|" * len(titles)
    for _, several in groupby(rows, key=lambda row: row["family"]):
        yield _line(_cells(list(several), is_alert))


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _cells(family: list[Row], is_alert: bool) -> list[str]:
    first = family[0]
    params = ", ".join(f"{name} {value:g}" for name, value in first["params"].items())
    alert = [f"`{first['condition']}`", params, first["evaluate_on"].replace("_", " ")]
    return [
        " ".join(f"`{row['name']}`" + _other_names(row) for row in family),
        first["title"],
        first["formula"],
        _by_name(family, "unit"),
        _by_name(family, "warm_up"),
        "all" if len(first["sessions"]) == 3 else ", ".join(first["sessions"]),
        *(alert if is_alert else []),
        f"{first['volume_threshold']:,.0f}",
        ", ".join(first["needs"]),
        first["source"],
    ]


def _other_names(row: Row) -> str:
    return f" (also {', '.join(f'`{name}`' for name in row['aliases'])})" if row["aliases"] else ""


def _by_name(family: list[Row], field: str) -> str:
    """The field once where all have the same, else by what tells the names apart."""
    if len({row[field] for row in family}) == 1:
        return str(family[0][field])
    words = [row["name"].split("_") for row in family]
    shared = sum(
        1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*words, strict=False))
    )
    end = -1 if all(one[-1] == "pct" for one in words) else None
    by_value: dict[str, list[str]] = {}
    for row, several in zip(family, words, strict=True):
        told = "_".join(several[shared:end]) or "_".join(several)
        by_value.setdefault(row[field], []).append(told)
    return "; ".join(f"{', '.join(several)}: {value}" for value, several in by_value.items())


def _toplists(rows: list[Row]) -> Iterator[str]:
    yield _line(("id", "title", "metric", "order"))
    yield "|---|---|---|---|"
    for row in rows:
        yield _line((f"`{row['name']}`", row["title"], f"`{row['metric']}`", row["order"]))
