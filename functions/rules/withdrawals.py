"""Alerts whose print was wrong: withdrawn when it is cancelled, judged again when it is corrected.

Alerts that prints caused are kept with what names their print, for WINDOW_NS of event time; older ones stay as
they were said, and in a storm those beyond LETTERS_MAX. An alert at a clock event rests on no one print and stays.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from functions.market.corrections import COUNTED
from functions.market.prints import LAST, LAST_IF_FIRST, Original
from functions.rules.compile import Rules
from functions.rules.rejudged import rejudged

WINDOW_NS = 3_600_000_000_000  # as long as a late print revises its bar; most corrections come within seconds
# Of a partition: some 2,800 alerts of 700 letters. It is saved with the state whenever one fires.
LETTERS_MAX = 2_000_000
# What is said of an alert is later than what was said of it before, however quickly corrections come:
# the history tells its rows apart by time, in microseconds.
AFTER_NS = 1_000
STATE = {"caused": "text"}  # a line of JSON for each, oldest first
FIRED, AMENDED, WITHDRAWN = "fired", "amended", "withdrawn"
Alert = dict[str, Any]


class Correction(NamedTuple):
    """What a row of the `corrected` record says of a print that had been counted."""

    row: int
    ts_ns: int
    id: int
    price: float
    size: float
    upd: int
    new_price: float
    new_size: float
    new_upd: int
    new_id: int

    def is_last(self) -> bool:
        """Whether the print may still be the last price; of one that was first that is settled."""
        settled = self.upd & self.new_upd & LAST_IF_FIRST and self.upd & LAST
        return bool(self.new_upd & LAST or settled)


class Caused(NamedTuple):
    """An alert with the print it rests on; `version` is its rule's."""

    symbol: str
    ts_ns: int
    id: int
    price: float
    size: float
    version: str
    alert: Alert

    def is_of(self, one: Correction) -> bool:
        """Whether the alert rests on the print that is corrected."""
        print_of = Original(self.ts_ns, self.id, self.price, self.size, -1)
        return print_of.is_it(one.ts_ns, one.id, one.price, one.size, one.upd)

    def line(self) -> str:
        """As it is kept; the symbol first, by which it is found."""
        return json.dumps(self, separators=(",", ":"))


def keep(state: Any, caused: list[Caused]) -> None:
    """Remember alerts, the newest last."""
    if not caused:
        return
    text = "\n".join(filter(None, [state["caused"], *(one.line() for one in caused)]))
    text = _since(text, max(one.ts_ns for one in caused) - WINDOW_NS)
    if len(text) > LETTERS_MAX:
        text = text[text.index("\n", len(text) - LETTERS_MAX - 1) + 1 :]
    state["caused"] = text


def _merged(texts: list[str]) -> str:
    lines = [line for text in dict.fromkeys(texts) for line in text.split("\n") if line]
    return "\n".join(sorted(lines, key=lambda line: Caused(*json.loads(line)).ts_ns))


MERGES = {"caused": _merged}  # when partitions become one


def _since(text: str, from_ns: int) -> str:
    """The lines from the first on whose print is not older."""
    start = 0
    while Caused(*json.loads(text[start : _end(text, start)])).ts_ns < from_ns:
        start = _end(text, start) + 1
    return text[start:]


def _end(text: str, start: int) -> int:
    found = text.find("\n", start)
    return found if found >= 0 else len(text)


def follow(state: Any, corrected: Any, clock_ns: int, rules: Rules) -> list[Alert]:
    """The alerts that corrections withdraw or amend, in order of the corrections and of the alerts."""
    if not state["caused"]:
        return []
    kept: list[Any] = state["caused"].split("\n")
    said = []
    for one in _corrections(corrected):
        for place in _places(kept, state.symbols[one.row]):
            caused = Caused(*json.loads(kept[place]))
            if caused.is_of(one):
                left, alert = _corrected(state, caused, one, rules)
                if alert is not None:
                    ts_ns = max(clock_ns, one.ts_ns, caused.alert["ts_ns"] + AFTER_NS)
                    alert |= {"ts_ns": ts_ns}
                    left = left and left._replace(alert=alert)
                    said.append(alert | {"row": one.row})
                kept[place] = left.line() if left else ""
        kept = [line for line in kept if line]
    state["caused"] = "\n".join(kept)
    return said


def _corrections(corrected: Any) -> list[Correction]:
    rows = np.flatnonzero(corrected["kind"] == COUNTED)
    absent = np.zeros(len(corrected), dtype=np.int64)
    columns = [corrected.get(name, absent)[rows].tolist() for name in Correction._fields]
    return [Correction(*values) for values in zip(*columns, strict=True)]


def _places(kept: list[str], symbol: str) -> list[int]:
    start = json.dumps([symbol])[:-1] + ","
    return [place for place, line in enumerate(kept) if line.startswith(start)]


def _corrected(
    state: Any, caused: Caused, one: Correction, rules: Rules
) -> tuple[Caused | None, Alert | None]:
    """(what stays of an alert whose print is corrected, what is said)."""
    if not one.new_price > 0:
        return None, _withdrawn(state, caused, one, "trade cancelled")
    if not one.is_last():
        return None, _withdrawn(state, caused, one, "trade no longer counts for the last price")
    number = one.new_id or caused.id
    moved = caused._replace(id=number, price=one.new_price, size=one.new_size)
    entry = rules.entry_of(caused.alert["rule_id"])
    if one.new_price == one.price or entry is None or entry.rule.version != caused.version:
        return moved, None  # nothing to judge, or nothing to judge by
    reason = f"trade corrected from {one.price:.10g} to {one.new_price:.10g}"
    leaves, values = (json.loads(caused.alert[name]) for name in ("explain", "values"))
    prices = one.price, one.new_price
    now = rejudged(rules, entry, leaves["leaves"], values["metrics"], prices)
    if not now.stands:
        return None, _withdrawn(state, caused, one, reason)
    alert = caused.alert | {
        "price": one.new_price,
        "kind": AMENDED,
        "values": json.dumps({"metrics": now.values}, separators=(",", ":")),
        "strength": now.strength,
        "explain": json.dumps({"leaves": now.leaves}, separators=(",", ":")),
        "reason": reason,
    }
    return moved, alert


def _withdrawn(state: Any, caused: Caused, one: Correction, reason: str) -> Alert:
    """The withdrawal of an alert; what its rule keeps silent because of it, it may say again."""
    fired, armed = (f"{family}.{caused.version}" for family in ("fired", "armed"))
    if fired in state and state[fired][one.row] == caused.ts_ns:
        state[fired][one.row] = 0
        if armed in state:
            state[armed][one.row] = 0
    return caused.alert | {"kind": WITHDRAWN, "reason": reason}
