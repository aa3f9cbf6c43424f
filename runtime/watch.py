"""`jetscan watch`: alerts, toplists, bars and metrics as they come, as lines for people or for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from runtime.client import Feed, Message

SHOWN = 10  # ranks of a toplist


@dataclass(frozen=True)
class Watch:
    """What is watched. Nothing named: every alert."""

    symbols: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    watchlists: tuple[str, ...] = ()
    toplists: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()  # AAPL:price,vwap
    functions: bool = False


async def watch(
    feed: Feed, wanted: Watch, say: Callable[[str], None], as_json: bool, count: int = 0
) -> None:
    """Say everything that comes; ends after `count` messages, 0 = never. Raises Refused, ValueError."""
    await ask(feed, wanted)
    said = 0
    async for message in feed:
        for line in [json.dumps(message)] if as_json else lines(message):
            say(line)
        said += 1
        if count and said >= count:
            return


async def ask(feed: Feed, wanted: Watch) -> None:
    """Ask for what is wanted."""
    if wanted.symbols or wanted.rules or wanted.watchlists:
        await feed.follow_alerts(wanted.symbols, wanted.rules, wanted.watchlists)
    for name in wanted.toplists:
        await feed.follow_toplist(name)
    if wanted.bars:
        await feed.follow_bars(wanted.bars)
    for one in wanted.metrics:
        symbol, _, names = one.partition(":")
        if not symbol or not names:
            raise ValueError(f"--metrics: expected SYMBOL:NAME,NAME, found {one!r}")
        await feed.follow_metrics(symbol, names.split(","))
    if wanted.functions:
        await feed.follow_functions()


def lines(message: Message) -> Iterator[str]:
    """A message for people."""
    kind, data = message["type"], message.get("data") or {}
    show = {
        "alert": lambda: [alert_line(data, bool(message.get("late")))],
        "gap": lambda: [f"missing: alerts {message['from']} to {message['to']} are no longer held"],
        "toplist_update": lambda: list_lines(data),
        "toplist_gone": lambda: [f"{data['toplist_id']}: no such toplist any more"],
        "bar": lambda: [bar_line(data)],
        "metrics": lambda: [metrics_line(data)],
        "functions": lambda: unit_lines(message["data"]),
        "error": lambda: [f"error: {message['message']}"],
    }.get(kind)
    yield from show() if show else [json.dumps(message)]


def clock(timestamp: str) -> str:
    """The time of day of an RFC 3339 time."""
    return timestamp[11:19]


def alert_line(alert: dict[str, Any], is_late: bool) -> str:
    """An alert: when, what, at which price, why."""
    values = ", ".join(f"{k}={v:g}" for k, v in _numbers(alert["metadata"].get("metrics", {})))
    kind = "" if alert["kind"] == "fired" else f" {alert['kind']}"
    late = " (late)" if is_late else ""
    head = f"{clock(alert['timestamp'])}  {alert['seq']:>7}  {alert['symbol']:<8} {alert['price']:>10.2f}"
    return f"{head}  {alert['rule_name']}{kind}{late}  {values}".rstrip()


def list_lines(data: dict[str, Any]) -> list[str]:
    """The head of a toplist."""
    rows = data["rankings"][:SHOWN]
    head = f"{clock(data['timestamp'])}  {data['toplist_id']}: {len(data['rankings'])} symbols"
    return [head] + [
        f"  {row['rank']:>3}  {row['symbol']:<8} {row['value']:>14.4f} {row['metadata']['price']:>10.2f}"
        for row in rows
    ]


def bar_line(bar: dict[str, Any]) -> str:
    """A running bar."""
    prices = " ".join(f"{bar[name]:>10.2f}" for name in ("open", "high", "low", "close"))
    return f"{clock(bar['timestamp'])}  {bar['symbol']:<8} {prices} {bar['volume']:>12.0f}"


def metrics_line(data: dict[str, Any]) -> str:
    """Metrics of a symbol; what is absent is a dash."""
    told = [f"{k}={'-' if v is None else format(v, 'g')}" for k, v in data["metrics"].items()]
    return f"{clock(data['timestamp'])}  {data['symbol']:<8} {' '.join(told)}"


def unit_lines(units: list[dict[str, Any]]) -> list[str]:
    """Who hosts what, and how far behind it is."""
    return [
        f"{one['unit']:<16} {one['worker'] or '-':<20} {one['pending']:>6} waiting"
        + (" paused" if one["paused"] else "")
        for one in units
    ]


def _numbers(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    return ((k, v) for k, v in values.items() if isinstance(v, int | float))
