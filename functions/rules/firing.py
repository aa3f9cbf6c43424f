"""When rules fire: at the moment they turn true, within their scope, after their cooldown, once per candle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from functions.rules import reasons
from functions.rules.compile import TIMEFRAMES, Entry, Rules
from functions.rules.evaluate import Pass
from functions.rules.moments import Moments
from functions.rules.watches import watch

Array = NDArray[Any]

MINUTE_NS = 60_000_000_000


class Firing(NamedTuple):
    """A rule that fired.

    place     the moment, by symbol; `moments.runs.order[place]` is its place in order of arrival
    strength  how far beyond its thresholds, see `reasons.strength`
    leaves    every leaf: text, value, threshold, truth, margin
    values    metric -> value of those that leaves name, None where it is not known
    """

    entry: Entry
    place: int
    row: int
    ts_ns: int
    strength: float
    leaves: list[dict[str, Any]]
    values: dict[str, float | None]


def fire(rules: Rules, moments: Moments, state: Any) -> list[Firing]:
    """The rules that fire at moments, by rule and then by symbol; what is kept moves on.

    At clock events only the rules that time changes are asked.
    """
    entries = rules.timed if moments.is_clock else rules.entries
    asked = Pass(rules, moments, state)
    found: list[Firing] = []
    if not entries or not len(moments):
        return found
    with np.errstate(invalid="ignore"):
        for entry in entries:
            if entry.watching:
                watch(asked, entry.watching)
        for entry in entries:
            places = turned(asked, entry)
            if places is not None and len(places):
                found += _said(asked, entry, places)
    return found


def truth_of(asked: Pass, entry: Entry) -> Array:
    """Where a rule is true, at moments that may fire."""
    truth = asked.true(entry.root)
    return truth if asked.may is None or truth is asked.nowhere else truth & asked.may


def turned(asked: Pass, entry: Entry) -> Array | None:
    """Where a rule turns true; None = nowhere. Its last truth is kept."""
    moments, state, name = asked.moments, asked.state, f"armed.{entry.rule.version}"
    truth = over_gaps(asked, name, truth_of(asked, entry))
    if truth is asked.nowhere or not truth.any():
        if name in state and state.read(name).any():
            state[name][moments.rows] = 0
        return None
    armed = state[name]
    turns = truth > moments.before(armed[moments.rows].view(bool), truth)
    armed[moments.rows] = moments.lasts(truth).view(np.uint8)
    return np.flatnonzero(turns) if turns.any() else None


def over_gaps(asked: Pass, name: str, truth: Array) -> Array:
    """A rule's truth; at moments in a gap it stays what it was, or all that were true would fire after it."""
    moments = asked.moments
    if moments.is_whole is None:
        return truth
    return moments.filled(moments.is_whole, truth, asked.state[name][moments.rows].astype(bool))


def _said(asked: Pass, entry: Entry, places: Array) -> list[Firing]:
    """The firings that scope, cooldown and candle let through."""
    allowed = list(_allowed(asked, entry, places))
    if not allowed:
        return []
    some = [place for place, _, _ in allowed]
    explained, values = reasons.explained(asked, entry, some), reasons.values_at(asked, entry, some)
    return [
        Firing(entry, place, row, ts_ns, reasons.strength(leaves), leaves, named)
        for (place, row, ts_ns), leaves, named in zip(allowed, explained, values, strict=True)
    ]


def _allowed(asked: Pass, entry: Entry, places: Array) -> Iterator[tuple[int, int, int]]:
    moments, scope = asked.moments, entry.scope
    runs, name = moments.runs, f"fired.{entry.rule.version}"
    fired = asked.state.read(name)
    for place in places.tolist():
        row = runs.rows.item(runs.of.item(place))
        if scope is not None and asked.state.symbols[row] not in scope:
            continue
        ts_ns = moments.ts_ns.item(place)
        if ts_ns >= free_at(entry, fired.item(row), moments.midnight_ns.item(place)):
            asked.state[name][row] = ts_ns
            yield place, row, ts_ns


def free_at(entry: Entry, fired_ns: int, midnight_ns: int) -> int:
    """When the cooldown of an alert is over and, where there is one per candle, its candle too.

    midnight_ns   of a date near it: candles are counted from there
    """
    rule = entry.rule
    if not fired_ns:
        return 0
    free_ns = fired_ns + rule.cooldown_ns if rule.cooldown_ns else 0
    if rule.once_per:
        length = TIMEFRAMES[rule.once_per] * MINUTE_NS
        start_ns = midnight_ns + (fired_ns - midnight_ns) // length * length
        free_ns = max(free_ns, start_ns + length)
    return free_ns


def why_not(rules: Rules, rule_id: str, moments: Moments, state: Any) -> dict[str, Any]:
    """Why a rule does not fire at one moment of one symbol (`moments` has one place); changes nothing.

    For JSON, see `reasons.why`. A rule that does not run says its fault.
    """
    entry = rules.entry_of(rule_id)
    if entry is None:
        fault = rules.faults.get(rule_id, "no such rule runs: it is disabled, or not there")
        return {"rule": rule_id, "fires": False, "truth": None, "why": [fault], "leaves": []}
    asked = Pass(rules, moments, state, is_peek=True)
    with np.errstate(invalid="ignore"):
        watch(asked, entry.watching)
    row, version = int(moments.runs.rows[0]), entry.rule.version
    kept = [f"{family}.{version}" for family in ("armed", "fired")]
    armed, fired_ns = (int(state[name][row]) if name in state else 0 for name in kept)
    free_ns = free_at(entry, fired_ns, int(moments.midnight_ns[0]))
    return reasons.why(asked, entry, fired_ns, free_ns, bool(armed))
