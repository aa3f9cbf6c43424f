"""Bars that come or change within the hour leave every indicator as if they had come in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from functions.market.indicators import NAMES, STATE, add_bars
from runtime.state import Rows, Table, shape_of

MINUTE_NS = 60_000_000_000
COLUMNS = ("open", "high", "low", "close", "volume", "vwap")


def a_table(symbols: int) -> Table:
    shapes = {name: shape_of(name, one) for name, one in STATE.items()}
    return Table(Rows([f"S{k}" for k in range(symbols)]), shapes)


def a_bar(draw: Any, minute: int, row: int, price: float) -> dict[str, Any]:
    opened, close = price, round(price * (1 + draw.normal(0, 0.003)), 2)
    high, low = max(opened, close) + draw.random(), min(opened, close) - draw.random()
    told = {"row": row, "minute": minute, "open": opened, "high": high, "low": low}
    return told | {"close": close, "volume": float(draw.integers(1, 99)), "vwap": (high + low) / 2}


def send(state: Table, bars: list[dict[str, Any]]) -> Any:
    columns = {name: np.array([one[name] for one in bars]) for name in COLUMNS}
    columns["row"] = np.array([one["row"] for one in bars])
    columns["ts_ns"] = np.array([one["minute"] for one in bars]) * MINUTE_NS
    columns["revision"] = np.array([one.get("revision", 0) for one in bars], dtype=np.int32)
    return add_bars(state, columns)


def newest(said: list[Any]) -> dict[int, dict[str, float]]:
    """The values of the newest bar of each row, as they were last said."""
    found: dict[int, tuple[int, dict[str, float]]] = {}
    for out in filter(None, said):
        for place, row in enumerate(out["row"].tolist()):
            minute = int(out["ts_ns"][place])
            if row not in found or minute >= found[row][0]:
                found[row] = minute, {name: float(out[name][place]) for name in NAMES}
    return {row: values for row, (_, values) in found.items()}


@pytest.mark.parametrize("length", [8, 12, 30, 70, 150, 203, 230, 400])
@pytest.mark.parametrize("kind", ["changed", "put in between"])
def test_a_bar_of_the_last_hour_that_is_late_counts_in_every_indicator(
    length: int, kind: str
) -> None:
    draw = np.random.default_rng(length)
    bars = [a_bar(draw, 10_000 + k, row, 20.0 + k % 7) for k in range(length) for row in range(3)]
    behind = [5, min(length - 2, 33), min(length - 2, 61)]  # of row 0, 1, 2
    late = [length - 1 - back for back in behind]
    held = [one for one in bars if one["minute"] - 10_000 == late[one["row"]]]
    state, said = a_table(3), []
    for k in range(length):
        minute = [one for one in bars if one["minute"] - 10_000 == k]
        if kind == "changed":
            first = [one | {"close": one["close"] + 1.5, "high": one["high"] + 2} if one in held else one for one in minute]  # fmt: skip
        else:
            first = [one for one in minute if one not in held]
        if first:
            said.append(send(state, first))
    said.append(send(state, [one | {"revision": int(kind == "changed")} for one in held]))
    more = [a_bar(draw, 10_000 + length, row, 21.0) for row in range(3)]
    again = len(said) - 1
    said.append(send(state, more))
    plain, expected = a_table(3), []
    for k in range(length):
        expected.append(send(plain, [one for one in bars if one["minute"] - 10_000 == k]))
    same(newest(said[: again + 1]), newest(expected))
    expected.append(send(plain, more))
    same(newest(said), newest(expected))
    assert said[again] is not None
    assert len(said[again]["row"]) >= 3  # said again


def same(found: dict[int, dict[str, float]], expected: dict[int, dict[str, float]]) -> None:
    assert found.keys() == expected.keys()
    for row, values in expected.items():
        for name, value in values.items():
            mine = found[row][name]
            assert np.isclose(mine, value, rtol=1e-9, atol=1e-9, equal_nan=True), (
                row,
                name,
                mine,
                value,
            )


def test_what_is_said_again_counts_its_revisions_up() -> None:
    draw, state = np.random.default_rng(1), a_table(1)
    for k in range(40):
        if k != 20:
            send(state, [a_bar(draw, 100 + k, 0, 20.0)])
    out = send(state, [a_bar(draw, 120, 0, 25.0)])
    assert (out["ts_ns"] // MINUTE_NS).tolist() == [135, 136, 137, 138, 139]
    assert out["revision"].tolist() == [1, 1, 1, 1, 1]
    out = send(state, [a_bar(draw, 134, 0, 25.0) | {"revision": 1}])
    assert out["revision"].tolist() == [2, 2, 2, 2, 2]
