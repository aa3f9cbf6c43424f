"""A small exchange for the cases: the real market chain, fed by hand, one second of clock at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from runtime.chain import Chain
from runtime.frames import Frame, texts
from runtime.loader import ChainPlan, load_plan
from runtime.subjects import load_subjects
from tests.conftest import ROOT

SUBJECTS = load_subjects(ROOT / "subjects.yaml")
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 1440 * MINUTE_NS
ABOVE_10 = {"id": "above", "name": "Above 10", "cooldown": 0, "conditions": [{"metric": "price", "operator": ">", "value": 10.0}]}  # fmt: skip


def at(*moment: int, zone: str = "America/New_York") -> int:
    """A wall-clock time as ns."""
    return int(datetime(*moment, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND_NS  # type: ignore[misc,arg-type]


def day_of(*moment: int) -> int:
    """A date as ns of its 00:00 UTC."""
    return (date(*moment) - date(1970, 1, 1)).days * DAY_NS


@cache
def planned(settings: str) -> ChainPlan:
    told = json.loads(settings)
    shared = {name: told[name] for name in ("closures", "markets") if name in told}
    plan = load_plan(ROOT / "functions", SUBJECTS, {"scanner": told, "bars": shared})
    assert plan.faults == ()
    return next(chain for chain in plan.chains if chain.stream == "MARKET")


class Exchange:
    """One partition of the market chain; what it says is kept in `alerts` and `lists`."""

    def __init__(self, *rules: dict[str, Any], **settings: Any) -> None:
        self.plan = planned(json.dumps({"watch": "*", **settings}))
        self.chain = Chain(self.plan, SUBJECTS, 0)
        self.alerts: list[dict[str, Any]] = []
        self.lists: dict[str, list[str]] = {}
        self.bars: list[dict[str, Any]] = []
        if rules:
            body = texts([json.dumps({"rules": list(rules)})])
            self.run("control", Frame({"version": np.array([1]), "body": body}))

    def run(self, base: str, frame: Frame) -> list[Any]:
        outputs = self.chain.run_frame(base, frame)
        for output in outputs:
            assert output.base != "dead", output.data
            if output.frame is not None and not output.part:
                self.note(output.base, output.frame)
        return outputs

    def note(self, base: str, frame: Frame) -> None:
        rows = [
            {name: frame[name][k] for name in ("symbol", *frame.columns) if name != "row"}
            for k in range(len(frame))
        ]
        if base == "alerts":
            self.alerts += rows
        elif base == "bars.final":
            self.bars += rows
        elif base == "toplists.partial":
            self.lists = {}
            for row in rows:
                if row["rank"]:  # else the symbol is none of the best any more
                    self.lists.setdefault(row["list"], []).append(row["symbol"])

    def clock(self, *times_ns: int) -> Exchange:
        for ts_ns in times_ns:
            self.lists = {}
            self.run("ticks.clock", Frame({"ts_ns": np.array([ts_ns])}))
        return self

    def send(self, base: str, symbols: Sequence[str], **columns: Any) -> Exchange:
        record = SUBJECTS.record_of(base)
        arrays = {
            name: texts(values)
            if record.columns[name].type == "text"
            else np.array(values, dtype=record.columns[name].type)
            for name, values in columns.items()
        }
        table = list(dict.fromkeys(symbols))
        index = np.array([table.index(symbol) for symbol in symbols])
        self.run(base, Frame(arrays, table, index))
        return self

    def trade(
        self, symbol: str, ts_ns: int, *prices: float, size: float = 100.0, upd: int = 7
    ) -> Exchange:
        """Prints of one symbol, a millisecond apart, after the clock event of their second."""
        second = ts_ns // SECOND_NS * SECOND_NS
        if second > self.chain.clock_ns:
            self.clock(second)
        n = len(prices)
        when = [ts_ns + k * 1_000_000 for k in range(n)]
        return self.send(
            "ticks.trades", [symbol] * n, ts_ns=when, price=prices, size=[size] * n, upd=[upd] * n
        )

    def status(self, symbol: str, ts_ns: int, code: int = 1, **columns: Any) -> Exchange:
        told = {name: [value] for name, value in columns.items()}
        return self.send("ticks.status", [symbol], ts_ns=[ts_ns], code=[code], **told)

    def days(
        self, symbol: str, *bars: tuple[int, float, float], factor: float = np.nan
    ) -> Exchange:
        """Daily bars (date in ns, close, volume), told one by one; `factor` is of the last one."""
        for place, (day, close, volume) in enumerate(bars):
            told = factor if place == len(bars) - 1 else np.nan
            prices = {name: [close] for name in ("open", "high", "low", "close")}
            self.send(
                "ticks.daily", [symbol], ts_ns=[day], volume=[volume], factor=[told], **prices
            )
        return self

    def fact(self, symbol: str, name: str, value: float, ts_ns: int = 1) -> Exchange:
        return self.send("ticks.reference", [symbol], ts_ns=[ts_ns], name=[name], value=[value])

    def ask(self, symbol: str, *names: str) -> Any:
        """Values of metrics now; None where one is absent. One name: its value."""
        now = np.array([self.chain.clock_ns])
        said: dict[str, float] = {}
        for output in self.run("ask.metrics", Frame({"ts_ns": now, "names": texts([" ".join(names)])})):  # fmt: skip
            if output.base == "metrics.values" and output.frame is not None and not output.part:
                frame = output.frame
                for k in np.flatnonzero(frame["symbol"] == symbol).tolist():
                    said[frame["name"][k]] = round(float(frame["value"][k]), 6)
        return said.get(names[0]) if len(names) == 1 else {name: said.get(name) for name in names}

    def restart(self) -> Exchange:
        """Lose the process and come back from the saved bytes."""
        snapshot = self.chain.snapshot()
        self.chain = Chain(self.plan, SUBJECTS, 0)
        self.chain.restore(snapshot.meta, {snapshot.blob_id: snapshot.blob})
        return self

    def state(self, column: str, symbol: str) -> Any:
        table = self.chain.table("scanner")
        return table[column][table.row_of(symbol)]

    def fired(self) -> list[float]:
        """Prices of the alerts so far."""
        return [alert["price"] for alert in self.alerts]
