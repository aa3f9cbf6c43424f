"""Frames as the JSON that clients know: alerts, ranks, bars."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.frames import Frame

FEED_NS_MAX = 60_000_000_000  # an event that is older when it is stored was recorded, not fed
SAFE_INTEGER_MAX = 2**53 - 1  # Number.MAX_SAFE_INTEGER: every number of JSON is a double there


def encoded(message: Any) -> bytes:
    """A message as compact JSON."""
    return json.dumps(message, separators=(",", ":")).encode()


def rfc3339(ts_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC, nine digits."""
    return str(np.datetime64(ts_ns, "ns")) + "Z"


def exact(value: Any) -> Any:
    """A JSON value in which integers a browser cannot hold, beyond 2^53, are texts."""
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [exact(one) for one in value]
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_integer and abs(value) > SAFE_INTEGER_MAX else value


def alert_shapes(frame: Frame, traceparent: str = "") -> list[dict[str, Any]]:
    """The alerts of an `alerts.filtered` frame; the trace is that of the causing message."""
    symbols = frame["symbol"]
    alerts = []
    trace_id = traceparent.split("-")[1] if traceparent.count("-") == 3 else ""
    for row in range(len(frame)):
        told = _told(frame, row)
        alerts.append(
            {
                "id": frame["id"][row],
                "rule_id": frame["rule_id"][row],
                "rule_name": frame["rule_name"][row],
                "symbol": str(symbols[row]),
                "timestamp": rfc3339(int(frame["ts_ns"][row])),
                "ts_ns": int(frame["ts_ns"][row]),
                "price": float(frame["price"][row]),
                "message": _message(frame, row, told),
                "metadata": exact(json.loads(frame["values"][row])),
                "trace_id": trace_id,
                "seq": int(frame["number"][row]),
                **told,
            }
        )
    return alerts


def _message(frame: Frame, row: int, told: dict[str, Any]) -> str:
    """`Rule 'Up' matched for A`, with what became of the alert before it and why after it."""
    text = f"Rule '{frame['rule_name'][row]}' matched for {frame['symbol'][row]}"
    if told["kind"] in ("amended", "withdrawn"):
        text = f"{told['kind'].capitalize()}: {text}"
    return f"{text} ({told['reason']})" if "reason" in told else text


def latency_ms(ts_ns: int, input_ns: int, said_ns: int, heard_ns: int = 0) -> dict[str, float]:
    """How long an alert took, in milliseconds by stage; stages that are not known are left out.

    feed     from its event time until its input was stored, by the exchange's clock and the server's;
             where that is below 0 or more than a minute, a recording is replayed or clocks differ: left out
    stream   from there until the numbered alert was stored: what functions took, and waiting
    gateway  from there until the gateway heard it, by the server's clock and the gateway's
    """
    ends = {
        "feed": (ts_ns, input_ns),
        "stream": (input_ns, said_ns),
        "gateway": (said_ns, heard_ns),
    }
    return {
        name: round((end - begin) / 1e6, 3)
        for name, (begin, end) in ends.items()
        if begin and end and (name != "feed" or 0 <= end - begin <= FEED_NS_MAX)
    }


def _told(frame: Frame, row: int) -> dict[str, Any]:
    """What the alert's function said beyond what every alert has."""
    told: dict[str, Any] = {"kind": str(frame["kind"][row]) if "kind" in frame else "fired"}
    if "strength" in frame:
        told["strength"] = float(frame["strength"][row])
    if "reason" in frame and frame["reason"][row]:
        told["reason"] = str(frame["reason"][row])
    for name in ("explain", "causes"):
        if name in frame:
            told[name] = exact(json.loads(frame[name][row]))
    return told


@dataclass(frozen=True)
class Listed:
    """What a frame of `toplists.updated` says of one list.

    number   of the update, contiguous from 1; 0 = not told
    rows     in rank order
    """

    key: str
    ts_ns: int
    number: int
    rows: list[dict[str, Any]]


def list_shapes(frame: Frame, columns: Callable[[str, str], Sequence[str]]) -> dict[str, Listed]:
    """The rankings of a `toplists.updated` frame, by list; rank 0 = shown no more.

    columns   list and key -> the names of the list's own columns, which the frame only numbers
    """
    names = frame["list"].astype(str)
    found = {}
    for name in dict.fromkeys(names.tolist()):
        mine = frame[names == name]
        key = str(mine["key"][0]) if "key" in mine else ""
        number = int(mine["number"].max()) if "number" in mine else 0
        own = columns(name, key)
        order = np.argsort(mine["rank"], kind="stable").tolist()
        rows = [_rank(mine, row, own) for row in order if mine["rank"][row]]
        found[name] = Listed(key, int(mine["ts_ns"].max()), number, rows)
    return found


def _rank(frame: Frame, row: int, columns: Sequence[str]) -> dict[str, Any]:
    told = {"price": float(frame["price"][row]), "volume": float(frame["volume"][row])}
    for k, name in enumerate(columns):
        value = float(frame[f"c{k}"][row]) if f"c{k}" in frame else math.nan
        if math.isfinite(value):  # what is absent is left out
            told[name] = value
    shape: dict[str, Any] = {
        "symbol": str(frame["symbol"][row]),
        "rank": int(frame["rank"][row]),
        "value": float(frame["value"][row]),
        "metadata": told,
    }
    if "previous" in frame:
        shape["previous"] = int(frame["previous"][row])
    if "since_ns" in frame:
        shape["since"] = rfc3339(int(frame["since_ns"][row]))
    return shape


def bar_shapes(frame: Frame) -> list[dict[str, Any]]:
    """The bars of a `bars.live` or `bars.final` frame; an absent VWAP is left out."""
    symbols = frame["symbol"]
    bars = []
    for row in range(len(frame)):
        bar: dict[str, Any] = {
            "symbol": str(symbols[row]),
            "timestamp": rfc3339(int(frame["ts_ns"][row])),
            **{
                name: float(frame[name][row]) for name in ("open", "high", "low", "close", "volume")
            },
            "count": int(frame["count"][row]),
            "revision": int(frame["revision"][row]),
        }
        if np.isfinite(frame["vwap"][row]):
            bar["vwap"] = float(frame["vwap"][row])
        bars.append(bar)
    return bars
