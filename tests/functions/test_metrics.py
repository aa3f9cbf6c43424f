"""Every metric against its slow twin, on random markets with late prints, odd lots, halts, silences and nights."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from functions.market import metrics
from functions.market.sessions import DAY_NS
from functions.market.vocabulary import FAMILY_OF, PARTS
from functions.scanner import scanner
from runtime.chain import Chain
from runtime.frames import Frame, texts
from runtime.loader import load_plan
from runtime.subjects import load_subjects
from tests.conftest import ROOT
from tests.functions.slow_metrics import Cancel, Day, Event, Print, Status, slow_metrics, when

SUBJECTS = load_subjects(ROOT / "subjects.yaml")
PLAN = load_plan(ROOT / "functions", SUBJECTS, {"scanner": {"watch": "*"}})
MARKET = next(chain for chain in PLAN.chains if chain.stream == "MARKET")
NEW_YORK = ZoneInfo("America/New_York")
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
EPOCH = date(1970, 1, 1).toordinal()
BANDS = ("limit_state_s", "dist_to_limit_up_pct", "dist_to_limit_down_pct")
SYMBOLS = ["AAA", "BBB", "CCC", "BTC-USD"]
NAMES = sorted(
    {*FAMILY_OF, *BANDS, *(part for parts in PARTS.values() for part in parts), "vwap_dist_5m_pct"}
)


def ns(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=NEW_YORK).timestamp()) * SECOND_NS  # type: ignore[misc,arg-type]


class Replay:
    """The market chain fed with prints, seconds of clock between them, as ingest publishes them."""

    def __init__(self) -> None:
        self.chain = Chain(MARKET, SUBJECTS, 0)
        self.clock_ns = 0

    def run(self, base: str, frame: Frame) -> list[Any]:
        outputs = self.chain.run_frame(base, frame)
        for output in outputs:
            assert output.base != "dead", output.data
        return outputs

    def clock(self, ts_ns: int) -> None:
        if ts_ns > self.clock_ns:
            self.clock_ns = ts_ns
            self.run("ticks.clock", Frame({"ts_ns": np.array([ts_ns])}))

    def send(self, events: Sequence[Event], width: int = 7) -> None:
        batch: list[Print] = []
        for one in events:
            second = when(one) // SECOND_NS * SECOND_NS
            if second > self.clock_ns or len(batch) == width or not isinstance(one, Print):
                self.flush(batch)
                batch = []
                self.clock(second)
            if isinstance(one, Print):
                batch.append(one)
            elif isinstance(one, Status):
                self.status(one)
            else:
                self.cancel(one)
        self.flush(batch)

    def status(self, one: Status) -> None:
        code = 2 if one.trades is None else 0 if one.trades else 1
        columns = {"ts_ns": np.array([one.ts_ns]), "code": np.array([code], dtype=np.uint8)}
        columns["resume_ns"] = np.array([one.resume_ns])
        up, down = one.bands or (np.nan, np.nan)
        columns |= {"limit_up": np.array([up]), "limit_down": np.array([down])}
        index = np.array([SYMBOLS.index(one.symbol)])
        self.run("ticks.status", Frame(columns, SYMBOLS, index))

    def cancel(self, one: Cancel) -> None:
        columns = {name: np.array([getattr(one.wrong, name)]) for name in ("ts_ns", "price")}
        columns["size"] = np.array([float(one.wrong.size)])
        right = one.right
        columns["new_price"] = np.array([right.price if right else np.nan])
        columns["new_size"] = np.array([float(right.size) if right else 0.0])
        index = np.array([SYMBOLS.index(one.symbol)])
        for output in self.run("ticks.corrections", Frame(columns, SYMBOLS, index)):
            assert output.base != "alerts"

    def flush(self, batch: list[Print]) -> None:
        if not batch:
            return
        columns = {
            "ts_ns": np.array([one.ts_ns for one in batch]),
            "price": np.array([one.price for one in batch]),
            "size": np.array([float(one.size) for one in batch]),
            "upd": np.array([one.upd for one in batch], dtype=np.uint8),
        }
        index = np.array([SYMBOLS.index(one.symbol) for one in batch])
        self.run("ticks.trades", Frame(columns, SYMBOLS, index))

    def days(self, days: list[Day]) -> None:
        columns: dict[str, Any] = {"ts_ns": np.array([one.day * DAY_NS for one in days])}
        for name in ("open", "high", "low", "close", "volume"):
            columns[name] = np.array([float(getattr(one, name)) for one in days])
        columns["factor"] = np.full(len(days), np.nan)
        index = np.array([SYMBOLS.index(one.symbol) for one in days])
        self.run("ticks.daily", Frame(columns, SYMBOLS, index))

    def facts(self, facts: dict[str, dict[str, float]]) -> None:
        rows = [
            (symbol, name, value)
            for symbol, named in facts.items()
            for name, value in named.items()
        ]
        columns = {
            "ts_ns": np.ones(len(rows), dtype=np.int64),
            "name": texts([name for _, name, _ in rows]),
            "value": np.array([value for _, _, value in rows]),
        }
        index = np.array([SYMBOLS.index(symbol) for symbol, _, _ in rows])
        self.run("ticks.reference", Frame(columns, SYMBOLS, index))

    def ask(self, at_ns: int) -> dict[str, dict[str, float]]:
        self.clock(at_ns)
        names = texts([" ".join(NAMES)])
        said: dict[str, dict[str, float]] = {}
        for output in self.run("ask.metrics", Frame({"ts_ns": np.array([at_ns]), "names": names})):
            if output.base == "metrics.values" and output.frame is not None and not output.part:
                frame = output.frame
                for symbol, name, value in zip(frame["symbol"], frame["name"], frame["value"].tolist(), strict=True):  # fmt: skip
                    said.setdefault(symbol, {})[name] = value
        return said


def random_prints(seed: int, begins_ns: int, seconds: int, mean_gap_s: float) -> list[Print]:
    """Prints of all symbols in order of arrival: ties, sub-second bursts, late ones, odd lots, silences."""
    draw = np.random.default_rng(seed)
    price = {symbol: 20.0 + 10 * k for k, symbol in enumerate(SYMBOLS)}
    prints, now = [], float(begins_ns)
    while now < begins_ns + seconds * SECOND_NS:
        gap = draw.exponential(mean_gap_s) * (60 if draw.random() < 0.01 else 1)
        now += round(gap * SECOND_NS / 1e6) * 1e6
        symbol = SYMBOLS[int(draw.choice(4, p=[0.6, 0.25, 0.05, 0.1]))]
        if symbol != "BTC-USD" and is_weekend(int(now)):
            continue
        moved = price[symbol] * (1 + draw.choice([0.0, 0.0, 0.0005, -0.0005, 0.004, -0.004]))
        price[symbol] = float(round(moved, 2))
        late_s = int(draw.choice([0, 0, 0, 0, 0, 0, 2, 2, 70, 130]))
        upd = int(draw.choice([7, 7, 7, 7, 7, 1, 5]))
        size = int(draw.integers(1, 300))
        prints.append(Print(symbol, int(now) - late_s * SECOND_NS, price[symbol], size, upd))
    return prints


HALTS_S = (20, 90, 300, 300, 1_200, 9_000)
STATUS_LATE_S = 40  # a halt that is told later than LATE_MINUTES is told when its windows are gone


def random_statuses(seed: int, begins_ns: int, seconds: int) -> list[Status]:
    """Halts that a status, a time or nothing ends, told at once or later, and price bands."""
    draw = np.random.default_rng(seed + 5)
    statuses = []
    for number, symbol in enumerate(SYMBOLS):
        at = begins_ns
        while True:
            at += int(draw.exponential(seconds / 3) * SECOND_NS)
            lasts_ns = int(draw.choice(HALTS_S)) * SECOND_NS
            if at > begins_ns + seconds * SECOND_NS:
                break
            told = at + int(draw.choice([0, 0, STATUS_LATE_S])) * SECOND_NS
            how = draw.choice(["status", "status", "time", "both", "never"])
            ends = at + lasts_ns if how in ("time", "both") else 0
            statuses.append(Status(symbol, told, at, trades=False, resume_ns=ends))
            middle = 20.0 + 10 * number
            bands = (round(middle * 1.01, 2), round(middle * 0.99, 2))
            statuses.append(Status(symbol, told + SECOND_NS, told, None, bands=bands))
            if how in ("status", "both"):
                over = max(at + lasts_ns, told) + int(draw.choice([0, SECOND_NS // 3]))
                statuses.append(Status(symbol, over, over, trades=True))
            at += lasts_ns
    return sorted(statuses, key=when)


def with_halts(prints: list[Print], statuses: list[Status], seed: int) -> list[Event]:
    """Prints and statuses in order of arrival; hardly anything is printed in a halt."""
    draw = np.random.default_rng(seed + 6)
    events: list[Event] = []
    halted: dict[str, Status] = {}
    waiting, newest = list(statuses), 0
    for one in prints:
        newest = max(newest, one.ts_ns)
        while waiting and waiting[0].at_ns <= newest:
            status = waiting.pop(0)
            events.append(status)
            if status.trades is not None:
                halted[status.symbol] = status
        now = halted.get(one.symbol)
        is_halted = now and not now.trades and not 0 < now.resume_ns <= one.ts_ns
        if not is_halted or draw.random() < 0.03:
            events.append(one)
    return events


def is_weekend(ts_ns: int) -> bool:
    when = datetime.fromtimestamp(ts_ns / SECOND_NS, NEW_YORK)
    return when.weekday() > 4 or (when.weekday() == 4 and when.hour >= 20)


def history(seed: int, until: int, count: int) -> list[Day]:
    draw = np.random.default_rng(seed)
    days = []
    for symbol in SYMBOLS[:2]:
        price = 25.0
        for day in [d for d in range(until - 2 * count, until) if (d + 3) % 7 < 5][-count:]:
            opened, price = price, float(round(price * (1 + draw.normal(0, 0.01)), 2))
            high = float(round(max(opened, price) * (1 + abs(draw.normal(0, 0.005))), 2))
            low = float(round(min(opened, price) * (1 - abs(draw.normal(0, 0.005))), 2))
            days.append(
                Day(symbol, day, opened, high, low, price, int(draw.integers(1_000, 9_000)))
            )
    return sorted(days, key=lambda one: one.day)


def difference(
    found: dict[str, dict[str, float]], expected: dict[str, dict[str, float]]
) -> list[str]:
    wrong = []
    for symbol, theirs in expected.items():
        mine = found.get(symbol, {})
        for name in NAMES:
            a, b = mine.get(name), theirs.get(name)
            if (a is None) != (b is None) or (
                a is not None
                and b is not None
                and not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-7)
            ):
                wrong.append(f"{symbol} {name}: {a} but the twin says {b}")
    return wrong


MARKETS = {
    "the open": ((2026, 3, 6, 8, 0), 3 * 3600, 2.0),
    "two days and the night between": ((2026, 3, 4, 14, 0), 21 * 3600, 25.0),
    "the evening before a half day, and it": ((2026, 11, 25, 18, 0), 48 * 3600, 60.0),
    "a weekend in which the clocks change": ((2026, 3, 6, 15, 0), 68 * 3600, 60.0),
}


def wrong_values(begins: int, seconds: int, gap_s: float, seed: int, width: int) -> list[str]:
    """Where the chain and the twin differ at four times of a random market, cut into frames of `width`."""
    prints = random_prints(seed, begins, seconds, gap_s)
    events = with_halts(prints, random_statuses(seed, begins, seconds), seed)
    draw = np.random.default_rng(seed + 99)
    at = sorted(begins + int(s) * SECOND_NS // 2 for s in draw.integers(0, 2 * seconds, 3))
    at.append(begins + seconds * SECOND_NS // MINUTE_NS * MINUTE_NS)
    return differences(events, begins, at, seed, width)


def differences(
    events: Sequence[Event], begins: int, at: list[int], seed: int, width: int
) -> list[str]:
    """Where the chain, fed with events in frames of `width`, and the twin differ at some times."""
    today = datetime.fromtimestamp(begins / SECOND_NS, NEW_YORK).date().toordinal() - EPOCH
    days = history(seed, today, 260)
    facts = {"AAA": {"float": 5e6, "news_ns": float(begins - 3600 * SECOND_NS), "earnings_ns": float(begins + 3 * DAY_NS)}}  # fmt: skip
    replay = Replay()
    replay.days(days)
    replay.facts(facts)
    newest = np.maximum.accumulate([when(one) for one in events])
    done = 0
    for at_ns in at:
        until = int(np.searchsorted(newest, at_ns, side="right"))
        replay.send(events[done:until], width)
        done = until
        expected = slow_metrics(events[:done], days, at_ns, NAMES, facts)
        wrong = difference(replay.ask(at_ns), expected)
        if wrong:
            return [f"{len(wrong)} differ at {at_ns}", *wrong[:40]]
    return []


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("market", MARKETS)
def test_every_metric_is_what_its_slow_twin_says(market: str, seed: int) -> None:
    moment, seconds, gap_s = MARKETS[market]
    assert wrong_values(ns(*moment), seconds, gap_s, seed, 1 + 3 * seed) == []


# The minutes around which sessions and days change, also of a half day and after the clocks changed.
BORDERS = [
    (*date, *clock)
    for date in ((2026, 3, 5), (2026, 3, 9), (2026, 11, 27))
    for clock in ((4, 0), (9, 30), (13, 0), (16, 0), (17, 0), (20, 0))
]


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate])
@given(st.sampled_from(BORDERS), st.integers(0, 10_000), st.integers(1, 40))
def test_any_cut_around_any_border_is_what_the_twin_says(
    border: tuple[int, ...], seed: int, width: int
) -> None:
    assert wrong_values(ns(*border) - 10 * MINUTE_NS, 1_500, 3.0, seed, width) == []


def test_the_vocabulary_is_complete() -> None:
    assert len(FAMILY_OF) == 322
    kinds = [family.kind for family in FAMILY_OF.values()]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"filter": 131, "alert": 156, "base": 8, "indicator": 27}  # fmt: skip
    assert set(FAMILY_OF) <= metrics.NAMES | metrics.ALIASES.keys()


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean volume_5m"):
        scanner.accepts["ask.metrics"]("volum_5m")
    assert json.loads(scanner.accepts["ask.metrics"]("float"))[0]["unit"] == "shares"
