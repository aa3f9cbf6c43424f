"""Pullback: a run, a quiet pause that keeps most of it, and a print above the pause. Five: all of it together.

Bars tell the run and the pause, prints fire, a halt ends it all. `version` and `carry` say what becomes of
state that was saved before `volume` was remembered.

stage of a symbol      ends when
0  nothing             a close `run_pct` above the low of five minutes: 1
1  and up: pausing     a bar above the run: 1 again; below what it must keep, louder than the run, or too long: 0;
   for so many bars    a print above the pause, from bar `pause_min` on: an alert, and 0
"""

from typing import Any

import numpy as np

from runtime import Answer, Frame, Settings, State, function

WINDOW = 5  # minutes in which the run has to happen
SETS_HIGH = 4  # bit of `upd`: the print may set a high


def sane(settings: Settings) -> None:
    """The loader refuses the function with this text."""
    if not 0 < settings["keeps"] < 1:
        raise ValueError(f"keeps: expected a share between 0 and 1, found {settings['keeps']}")


pullback = function(
    "pullback",
    writes="alerts",
    state={
        "lows": ("f8", WINDOW),
        "closed": "i8",
        "stage": "i4",
        "low": "f8",
        "high": "f8",
        "volume": "f8",
        "pause_high": "f8",
    },
    settings={"run_pct": 4.0, "keeps": 0.5, "pause_min": 2, "pause_max": 6},
    version=2,
    carry="keep",
    checks=sane,
)


@pullback.on("bars.final")
def minute(bars: Frame, state: State, settings: Settings) -> None:
    for place, row in enumerate(bars["row"].tolist()):
        if bars["revision"][place]:
            continue
        bar = {name: float(bars[name][place]) for name in ("high", "low", "close", "volume")}
        state["lows"][row, int(state["closed"][row]) % WINDOW] = bar["low"]
        state["closed"][row] += 1
        state["stage"][row] = _stage(bar, row, state, settings)


def _stage(bar: dict[str, float], row: int, state: Any, settings: Settings) -> int:
    stage, high = int(state["stage"][row]), float(state["high"][row])
    if not stage or bar["high"] > high:
        return _run(bar, row, state, settings)
    kept = state["low"][row] + settings["keeps"] * (high - state["low"][row])
    is_loud = bar["volume"] > state["volume"][row]
    if bar["low"] < kept or is_loud or stage >= settings["pause_max"]:
        return 0
    state["pause_high"][row] = max(state["pause_high"][row], bar["high"])
    return stage + 1


def _run(bar: dict[str, float], row: int, state: Any, settings: Settings) -> int:
    lows = state["lows"][row]
    low = float(lows[lows > 0].min())
    if bar["close"] < low * (1 + settings["run_pct"] / 100):
        return 0
    state["low"][row], state["high"][row] = low, bar["high"]
    state["volume"][row], state["pause_high"][row] = bar["volume"], 0.0
    return 1


@pullback.on("ticks.trades")
def fire(trades: Frame, state: State, settings: Settings) -> Answer:
    row, upd = trades["row"], trades.get("upd")
    above = (state["stage"][row] > settings["pause_min"]) & (
        trades["price"] > state["pause_high"][row]
    )
    if upd is not None:
        above &= (upd & SETS_HIGH) > 0
    place = np.flatnonzero(above)
    rows, first = np.unique(
        row[place], return_index=True
    )  # a symbol fires once, at its first print
    state["stage"][rows] = 0
    return trades[np.sort(place[first])]


@pullback.on("ticks.status")
def halted(status: Frame, state: State) -> None:
    state["stage"][status["row"][status["code"] == 1]] = 0
