"""Quiet: a symbol that traded and then stood still. Three: time comes with the stream, in clock events."""

import numpy as np

from runtime import Answer, Frame, Settings, State, function

quiet = function(
    "quiet",
    writes="alerts",
    state={"newest_ns": "i8", "price": "f8", "said": "u1"},
    settings={"silent_s": 300},
)


@quiet.on("ticks.trades")
def heard(trades: Frame, state: State) -> None:
    is_new = trades["ts_ns"] > state["newest_ns"][trades["row"]]
    state["said"][trades["row"][is_new]] = 0  # a late print breaks no silence
    np.maximum.at(state["newest_ns"], trades["row"], trades["ts_ns"])
    state["price"][trades["row"]] = trades["price"]  # of several prints the last one stays


@quiet.on("ticks.clock")
def look(clock: int, state: State, settings: Settings) -> Answer:
    silent = clock - state["newest_ns"] > settings["silent_s"] * 1_000_000_000
    row = np.flatnonzero(silent & (state["price"] > 0) & (state["said"] == 0))
    state["said"][row] = 1
    return {"row": row, "ts_ns": np.full(len(row), clock), "price": state["price"][row]}
