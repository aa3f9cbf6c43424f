"""What a backtest found, for people: the same tables as Markdown and as one HTML page with plots.

Counted are alerts that fired. What is said of earlier alerts later on (other kinds) is told by number
only. Returns are percent of the alert's price; a hit is a return above zero; absent returns count nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from runtime.frames import Array
from runtime.plots import bar_plot, line_plot
from runtime.shapes import rfc3339

HORIZONS = ("1m", "5m", "15m", "60m", "close")
PLOTTED = "15m"  # the horizon of both plots of returns
HALF_HOUR_NS = 1_800_000_000_000
DAY_NS = 86_400_000_000_000
SYMBOLS_SHOWN, RULES_PLOTTED, BINS = 15, 5, 24
SESSIONS = ("premarket", "market", "postmarket", "closed")
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}"
    "td,th{padding:.25em .6em;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:760px;display:block}"
)


@dataclass(frozen=True)
class Table:
    """A heading, the names of columns, and rows of cells as they are shown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Report:
    """Everything that is shown: facts in order, tables, and plots by title."""

    facts: dict[str, str]
    tables: list[Table]
    plots: dict[str, str]


def report_of(
    facts: Mapping[str, str], alerts: Sequence[Mapping[str, Any]], outcomes: Mapping[str, Any]
) -> Report:
    """The report of alerts (as clients know them) and of the outcome of each that fired, in the same order.

    outcomes   columns: rule_id, rule_name, symbol, ts_ns, session and, where known, return_*_pct,
               best_pct, worst_pct
    """
    kinds = Counter(str(one["kind"]) for one in alerts)
    told = dict(facts) | {"alerts fired": f"{kinds.pop('fired', 0):,}"}
    told |= {f"alerts {kind}": f"{count:,}" for kind, count in sorted(kinds.items())}
    fired = _Fired(outcomes)
    if not fired.count:
        return Report(told, [], {})
    tables = [
        fired.rules(),
        fired.table("Returns by rule", "rule", fired.by_rule()),
        fired.table("Returns by session", "session", fired.by_session()),
        fired.table("First of the day and repeats", "alert", fired.by_repeat()),
        fired.symbols(),
    ]
    return Report(told, tables, fired.plots())


class _Fired:
    """The alerts that fired, as columns."""

    def __init__(self, outcomes: Mapping[str, Any]) -> None:
        self.rule = np.array(outcomes.get("rule_id", []), dtype=object)
        self.count = len(self.rule)
        self.name = np.array(outcomes.get("rule_name", self.rule), dtype=object)
        self.symbol = np.array(outcomes.get("symbol", []), dtype=object)
        self.ts_ns = np.array(outcomes.get("ts_ns", []), dtype=np.int64)
        self.session = np.array(outcomes.get("session", [""] * self.count), dtype=object)
        absent = np.full(self.count, np.nan)
        names = [f"return_{one}_pct" for one in HORIZONS] + ["best_pct", "worst_pct"]
        self.values = {name: np.array(outcomes.get(name, absent), dtype=float) for name in names}
        self.repeats = self._repeats()

    def _repeats(self) -> Array:
        """Whether the rule fired for the symbol earlier on the same day (UTC)."""
        seen: set[tuple[Any, ...]] = set()
        found = np.zeros(self.count, dtype=bool)
        days = (self.ts_ns // DAY_NS).tolist()
        for place in np.argsort(self.ts_ns, kind="stable").tolist():
            key = (self.rule[place], self.symbol[place], days[place])
            found[place] = key in seen
            seen.add(key)
        return found

    # -- groups

    def by_rule(self) -> list[tuple[str, Array]]:
        names = dict(zip(self.rule.tolist(), self.name.tolist(), strict=True))
        return [(names[rule] or rule, self.rule == rule) for rule in sorted(names)]

    def by_session(self) -> list[tuple[str, Array]]:
        groups = [(name, self.session == name) for name in SESSIONS]
        return [(name, mask) for name, mask in groups if mask.any()]

    def by_repeat(self) -> list[tuple[str, Array]]:
        groups = [("first of the day", ~self.repeats), ("repeat", self.repeats)]
        return [(name, mask) for name, mask in groups if mask.any()]

    # -- tables

    def rules(self) -> Table:
        columns = ("rule", "alerts", "symbols", "repeats", "first", "last", "best", "worst")
        rows = []
        for name, mask in self.by_rule():
            times = self.ts_ns[mask]
            counts = (mask.sum(), len(set(self.symbol[mask])), self.repeats[mask].sum())
            best, worst = (self.values[one][mask] for one in ("best_pct", "worst_pct"))
            span = [rfc3339(int(one))[:19] for one in (times.min(), times.max())]
            ends = [_percent(best, np.max), _percent(worst, np.min)]
            rows.append([name, *(f"{int(one):,}" for one in counts), *span, *ends])
        return Table("Rules", columns, rows)

    def table(self, title: str, first: str, groups: Iterable[tuple[str, Array]]) -> Table:
        columns = [first, "alerts"]
        columns += [f"{what} {one}" for one in HORIZONS for what in ("hits", "mean", "median")]
        rows = []
        for name, mask in groups:
            cells = [name, f"{int(mask.sum()):,}"]
            for horizon in HORIZONS:
                values = self.values[f"return_{horizon}_pct"][mask]
                cells += [_hits(values), _percent(values, np.mean), _percent(values, np.median)]
            rows.append(cells)
        return Table(title, columns, rows)

    def symbols(self) -> Table:
        most = Counter(self.symbol.tolist()).most_common(SYMBOLS_SHOWN)
        rows = []
        for symbol, count in most:
            mask = self.symbol == symbol
            values = self.values[f"return_{PLOTTED}_pct"][mask]
            ends = [
                (self.values[n][mask], f) for n, f in (("best_pct", np.max), ("worst_pct", np.min))
            ]
            cells = [_hits(values), _percent(values, np.mean), *(_percent(v, f) for v, f in ends)]
            rows.append([str(symbol), f"{count:,}", *cells])
        columns = ("symbol", "alerts", f"hits {PLOTTED}", f"mean {PLOTTED}", "best", "worst")
        return Table("Symbols with most alerts", columns, rows)

    # -- plots

    def plots(self) -> dict[str, str]:
        halves = Counter((self.ts_ns % DAY_NS // HALF_HOUR_NS).tolist())
        span = range(min(halves), max(halves) + 1)
        labels = [f"{half // 2:02d}:{half % 2 * 30:02d}" for half in span]
        title = "Alerts per half hour (UTC)"
        found = {title: bar_plot(labels, [float(halves[half]) for half in span], title)}
        returns = self.values[f"return_{PLOTTED}_pct"]
        known = returns[np.isfinite(returns)]
        if len(known):
            title = f"Returns after {PLOTTED}, percent: how often"
            found[title] = bar_plot(*_distribution(known), title)
            title = f"Mean return after {PLOTTED} of the alerts so far"
            found[title] = line_plot(self._running_means(returns), title, "%")
        return found

    def _running_means(self, returns: Array) -> list[tuple[str, list[float]]]:
        """Of the rules with most alerts: after each alert the mean return of those up to it."""
        order = np.argsort(self.ts_ns, kind="stable")
        groups = sorted(self.by_rule(), key=lambda one: -int(one[1].sum()))[:RULES_PLOTTED]
        lines = []
        for name, mask in groups:
            values = returns[order][mask[order]]
            values = values[np.isfinite(values)]
            if len(values):
                means = np.cumsum(values) / np.arange(1, len(values) + 1)
                lines.append((name, means.tolist()))
        return lines


def _distribution(values: Array) -> tuple[list[str], list[float]]:
    """Bins over the middle 98 percent; what lies outside is in the first and the last."""
    low, high = np.percentile(values, (1, 99))
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts, edges = np.histogram(np.clip(values, low, high), BINS, (low, high))
    return [f"{one:.2g}" for one in edges[:-1]], [float(one) for one in counts]


def _hits(values: Array) -> str:
    known = values[np.isfinite(values)]
    return f"{float((known > 0).mean()) * 100:.0f}%" if len(known) else "-"


def _percent(values: Array, reduce: Any) -> str:
    known = values[np.isfinite(values)]
    return f"{float(reduce(known)):+.2f}%" if len(known) else "-"


# -- as text


def as_markdown(report: Report) -> str:
    """The report without its plots."""
    lines = ["# Backtest", ""]
    lines += [f"- {_marked(name)}: {_marked(value)}" for name, value in report.facts.items()]
    for table in report.tables:
        lines += ["", f"## {table.title}", ""]
        lines.append("| " + " | ".join(table.columns) + " |")
        lines.append("|---" + "|---:" * (len(table.columns) - 1) + "|")
        lines += ["| " + " | ".join(map(_marked, row)) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def _marked(text: str) -> str:
    """A text that means nothing else in Markdown."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def as_html(report: Report) -> str:
    """One page with everything in it: no script, nothing from elsewhere."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Backtest</title>',
        f"<style>{STYLE}</style></head><body><h1>Backtest</h1><ul>",
        *(f"<li>{escape(n)}: {escape(value)}</li>" for n, value in report.facts.items()),
        "</ul>",
    ]
    parts += [_as_table(table) for table in report.tables[:1]]
    parts += [f"<h2>{escape(title)}</h2>{plot}" for title, plot in report.plots.items()]
    parts += [_as_table(table) for table in report.tables[1:]]
    return "".join(parts) + "</body></html>\n"


def _as_table(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = (
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return f"<h2>{escape(table.title)}</h2><table><tr>{head}</tr>{''.join(rows)}</table>"
