"""The market chain fed with prints as a feed sends them: price, size, sale conditions and tape."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from functions.bars import bars
from functions.indicators import indicators
from functions.scanner import scanner
from runtime.providers.conditions import flags_of
from runtime.testing import Harness

NEW_YORK = ZoneInfo("America/New_York")
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DATE = (2026, 1, 6)  # a Tuesday


def ns(clock: str, date: tuple[int, int, int] = DATE) -> int:
    """A time of day in New York, such as 09:30 or 09:30:00.25, as ns."""
    whole, _, fraction = clock.partition(".")
    parts = [int(part) for part in whole.split(":")]
    moment = datetime(*date, *parts, tzinfo=NEW_YORK)  # type: ignore[misc,arg-type]
    return int(moment.timestamp()) * SECOND_NS + int(fraction.ljust(9, "0"))


class Day:
    """A trading day of the chain; `trade` returns the names of the rules that fired."""

    def __init__(self, odd_lots: str = "volume", **settings: Any) -> None:
        self.h = Harness(
            bars, indicators, scanner, settings={"scanner": {"watch": "*", **settings}}
        )
        self.odd_lots = odd_lots
        self.clock_ns = 0
        self.closed: list[tuple[str, list[Any]]] = []

    def rule(self, name: str, *conditions: tuple[str, str, float]) -> None:
        """Evaluate one rule from here on: (metric, operator, value) each."""
        whole = [
            {"metric": metric, "operator": sign, "value": value, "volume_threshold": 0, "calculated_during": "all"}
            for metric, sign, value in conditions
        ]  # fmt: skip
        body = json.dumps(
            {"rules": [{"id": name, "name": name, "cooldown": 0, "conditions": whole}]}
        )
        self.h.send("control", version=[1], body=[body])

    def trade(
        self,
        clock: str,
        price: float,
        size: float = 100.0,
        conditions: str = "@",
        tape: str = "A",
        symbol: str = "AAA",
        date: tuple[int, int, int] = DATE,
    ) -> list[str]:
        """One print; its conditions are mapped as a provider maps them."""
        at = np.array([ns(clock, date)])
        self._tick(ns(clock, date) // SECOND_NS * SECOND_NS)
        upd, _ = flags_of([conditions], [tape], at, self.odd_lots)
        out = self.h.send("ticks.trades", symbol=[symbol], ts_ns=at, price=[price], size=[size], upd=upd)  # fmt: skip
        return out["alerts"]["rule_name"].tolist() if "alerts" in out else []

    def quote(self, clock: str, bid: float, ask: float, symbol: str = "AAA", **more: Any) -> None:
        """One quote, of 300 and 400 shares unless said otherwise."""
        self._tick(ns(clock) // SECOND_NS * SECOND_NS)
        columns = {"bid_size": 300.0, "ask_size": 400.0, **more}
        self.h.send("ticks.quotes", symbol=[symbol], ts_ns=[ns(clock)], bid=[bid], ask=[ask], **{name: [value] for name, value in columns.items()})  # fmt: skip

    def until(self, clock: str, date: tuple[int, int, int] = DATE) -> dict[str, list[Any]]:
        """Event time reaches a time; the bars closed since the last call, as columns."""
        self._tick(ns(clock, date))
        found: dict[str, list[Any]] = {}
        for name, values in self.closed:
            found.setdefault(name, []).extend(values)
        self.closed.clear()
        return found

    def _tick(self, at_ns: int) -> None:
        """The clock events of a feed: event time has reached this."""
        if at_ns > self.clock_ns:
            self.clock_ns = at_ns
            out = self.h.clock(at_ns).get("bars.final")
            if out is not None:
                self.closed += [(name, out[name].tolist()) for name in out.columns]

    def ask(self, clock: str, *names: str, symbol: str = "AAA", date: tuple[int, int, int] = DATE) -> list[float | None]:  # fmt: skip
        """The values of metrics of a symbol as of a time; None where one is absent."""
        self._tick(ns(clock, date))
        out = self.h.send("ask.metrics", ts_ns=[ns(clock, date)], names=[" ".join(names)])
        told = out.get("metrics.values")
        rows = (
            zip(told["symbol"], told["name"], told["value"].tolist(), strict=True) if told else ()
        )
        found = {name: value for of, name, value in rows if of == symbol}
        return [found.get(name) for name in names]

    def known(self, column: str, symbol: str = "AAA") -> float:
        """A column of the scanner's state."""
        state = self.h.state("scanner")
        return float(state[column][state.row_of(symbol)])
