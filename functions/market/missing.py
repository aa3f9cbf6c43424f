"""Values of metrics of one symbol, each that is missing with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np

from functions.market import metrics, sessions
from functions.market.vocabulary import named

NAMES_MAX = 64  # each costs a look at one symbol; all of them would hold up the prints behind


def values_of(
    state: Any, symbol: str, names: list[str], at_ns: int, uses: frozenset[str]
) -> dict[str, Any]:
    """`{"symbol", "ts_ns", "metrics": {name: value}, "missing": {name: why}}`, or a `fault`.

    at_ns   event time; 0 = that of the symbol's last print
    uses    metrics that are kept at prints, as rules or settings name them
    """
    told: dict[str, Any] = {"symbol": symbol}
    row = state.row_of(symbol)
    if row is None or not state["market"][row]:
        return {**told, "fault": "nothing has been heard of this symbol yet"}
    at_ns = at_ns or int(state["last_ns"][row])
    if at_ns <= 0:
        return {**told, "fault": "no event time is known yet: nothing has traded"}
    names = names[:NAMES_MAX]
    known = {name: metrics.ALIASES.get(name, name) for name in names}
    events = metrics.at_clock(state, at_ns, np.array([row]))
    values = metrics.compute(set(known.values()), state, events)
    found = {name: float(values[one][0]) for name, one in known.items()}
    session = sessions.SESSIONS[int(events.session[0])]
    is_priced = bool(state["last"][row] > 0)
    missing = {
        name: _reason(known[name], session, is_priced, uses)
        for name, value in found.items()
        if not np.isfinite(value)
    }
    numbers = {name: value for name, value in found.items() if np.isfinite(value)}
    return {**told, "ts_ns": at_ns, "metrics": numbers, "missing": missing}


def _reason(name: str, session: str, is_priced: bool, uses: frozenset[str]) -> str:
    """Why a metric has no value, as far as its row of the vocabulary tells."""
    row: dict[str, Any] = named()[name]
    if not is_priced:
        return "nothing has traded yet"
    if name in metrics.WATCHED and name not in uses:
        return "not kept: no rule names it, nor does the scanner's setting watch"
    if session not in row["sessions"]:
        return f"out of session: it is of {', '.join(row['sessions'])}, and this is {session}"
    if row["warm_up"] == "the fact":
        return "not told: no reference data has it"
    return f"not known yet: it needs {row['warm_up']}"
