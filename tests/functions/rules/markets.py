"""Random moments of a few symbols, and the fast engine run over them, cut anywhere."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from functions.market.running import runs_of
from functions.rules.compile import Rules
from functions.rules.evaluate import Pass
from functions.rules.firing import fire, truth_of
from functions.rules.kept import STATE
from functions.rules.moments import Moments
from runtime.state import Rows, Table, shape_of
from tests.functions.rules.slow_rules import Moment
from tests.functions.rules.trees import LISTS, METRICS, SECOND_NS

SYMBOLS = ["A", "B", "C"]
START_NS = 1_767_623_400 * SECOND_NS
VALUES = (-1.0, 0.0, 9.9, 10.0, 10.0, 10.0 + 1e-10, 10.1, 10.2, 30.0, math.nan)
STEPS = (0, 0, 1, 1, 2, 5, 20, 59, 61, -1)
SMALL_STEPS = (0, 0, 1, 1, 2, 3, 5, -1, -1)


def table() -> Table:
    return Table(Rows(SYMBOLS), {name: shape_of(name, shape) for name, shape in STATE.items()})


def market(seed: int, size: int, steps: Sequence[int] = STEPS) -> list[list[Moment]]:
    """Stretches of prints with clock events between them; the symbols of a clock event come once."""
    draw = random.Random(seed)
    world = _World(draw, steps)
    frames: list[list[Moment]] = []
    while sum(map(len, frames)) < size:
        frames.append(
            [world.moment(draw.randrange(len(SYMBOLS))) for _ in range(draw.choice([0, 2, 5, 30]))]
        )
        world.change()
        frames.append([world.moment(symbol, True) for symbol in range(len(SYMBOLS))])
    return [frame for frame in frames if frame]


class _World:
    def __init__(self, draw: random.Random, steps: Sequence[int]) -> None:
        self.draw, self.steps = draw, steps
        self.ts_ns = START_NS
        self.day, self.session = 20_000, 2
        self.stretch = [1] * len(SYMBOLS)
        self.barred = [0] * len(SYMBOLS)
        self.values = [dict.fromkeys(METRICS, 10.0) for _ in SYMBOLS]
        self.candles = [0] * len(SYMBOLS)
        self.member = [dict.fromkeys(LISTS, 1) for _ in SYMBOLS]

    def moment(self, symbol: int, is_clock: bool = False) -> Moment:
        """The next moment; at a clock event they all have one time."""
        draw = self.draw
        if not is_clock or not symbol:
            self.ts_ns += draw.choice(self.steps) * SECOND_NS
        if draw.random() < 0.8:
            self.values[symbol] = {
                name: draw.choice(VALUES) if draw.random() < 0.7 else value
                for name, value in self.values[symbol].items()
            }
        if draw.random() < 0.1 and not is_clock:
            self.barred[symbol] = draw.choice([0, 0, 1, 3])
        if draw.random() < 0.05 and not is_clock:
            self.stretch[symbol] += 1
        return Moment(
            symbol,
            self.ts_ns,
            dict(self.values[symbol]),
            draw.choice([100.0, 500.0, 100_000.0]),
            self.session,
            self.day,
            self.stretch[symbol],
            self.barred[symbol],
            {"1m": self.candles[symbol]},
            dict(self.member[symbol]),
            is_clock,
            START_NS - 7 * SECOND_NS,
        )

    def change(self) -> None:
        """What only the clock changes."""
        draw = self.draw
        for symbol in range(len(SYMBOLS)):
            self.candles[symbol] += draw.choice([0, 1, 1, 2, 70])
            self.member[symbol] = {name: draw.choice([0, 1, 2]) for name in LISTS}
        if draw.random() < 0.2:
            self.session = draw.choice([0, 1, 2, 3])
        if draw.random() < 0.1:
            self.day += 1
            self.stretch = [one + 1 for one in self.stretch]


def moments_of(frame: Sequence[Moment]) -> Moments:
    """The columns of some moments."""
    runs = runs_of(np.array([one.symbol for one in frame]))
    ordered = [frame[place] for place in runs.order.tolist()]

    def column(name: str, dtype: Any = np.int64) -> Any:
        return np.array([getattr(one, name) for one in ordered], dtype=dtype)

    return Moments(
        runs,
        column("ts_ns"),
        lambda name: np.array([one.values[name] for one in ordered]),
        lambda: column("volume", float),
        column("session", np.uint8),
        column("day"),
        column("stretch"),
        column("midnight_ns"),
        column("barred", np.uint8),
        lambda name: np.array([one.candles[name] for one in ordered]),
        lambda name: np.array([one.member[name] for one in ordered], dtype=np.uint8),
        frame[0].is_clock,
    )


def cut(frames: list[list[Moment]], seed: int, longest: int) -> list[list[Moment]]:
    """The same moments in other frames; prints and clock events stay apart."""
    draw = random.Random(seed)
    pieces = []
    for frame in frames:
        while frame:
            width = draw.randint(1, longest)
            pieces.append(frame[:width])
            frame = frame[width:]
    return pieces


def run(
    rules: Rules, state: Any, frames: list[list[Moment]]
) -> tuple[list[tuple[str, Any, bool | None]], list[tuple[str, int, int]]]:
    """(truth of every rule at every moment it is asked at, firings), both in order of the moments."""
    truths, firings = [], []
    for frame in frames:
        moments = moments_of(frame)
        said = fire(rules, moments, _Spied(state, rules, moments, frame, truths))
        order = moments.runs.order
        said.sort(key=lambda one: (order[one.place], one.entry.rule.id))
        firings += [(one.entry.rule.id, one.row, one.ts_ns) for one in said]
    return truths, firings


class _Spied:
    """State as it is; a second look at the same moments, on a copy, writes down every rule's truth."""

    def __init__(
        self, state: Any, rules: Rules, moments: Moments, frame: Sequence[Moment], truths: list[Any]
    ) -> None:
        self.state = state
        copy = table()
        copy.load({name: values.copy() for name, values in state.columns().items()})
        asked = Pass(rules, moments, copy)
        order = moments.runs.order.tolist()
        found = []
        for entry in rules.timed if moments.is_clock else rules.entries:
            from functions.rules.watches import watch

            watch(asked, entry.watching)
            true, false = truth_of(asked, entry), asked.false(entry.root)
            for place, arrival in enumerate(order):
                known = true[place] or (false[place] and not frame[arrival].barred)
                truth = bool(true[place]) if known else None
                found.append((arrival, entry.rule.id, truth))
        found.sort(key=lambda one: one[:2])
        truths += [(rule_id, frame[arrival].symbol, truth) for arrival, rule_id, truth in found]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.state, name)

    def __getitem__(self, name: str) -> Any:
        return self.state[name]

    def __contains__(self, name: str) -> bool:
        return name in self.state
