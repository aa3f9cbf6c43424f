"""A market chain that lost its state and has it again from its bars knows what its twin knows that never stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from functions.bars import bars
from functions.indicators import indicators
from functions.scanner import scanner
from runtime.chain import Chain
from runtime.frames import decode, encode_parts
from runtime.testing import Harness
from tests.functions.test_metrics import (
    DAY_NS,
    MARKET,
    MINUTE_NS,
    SECOND_NS,
    SUBJECTS,
    Replay,
    difference,
    history,
    ns,
    random_prints,
)
from tests.functions.test_restore import Message, Recorder, said_by

# What watches every print is not known of a symbol before its first print: it is absent, not invented.
WATCHED = ("crossed_", "running_", "broke_", "back_to_", "reject", "bounce", "changed_")


@dataclass
class Life:
    """The input of a partition, what a calm chain said of bars, and where the rest is lost."""

    messages: list[Message]
    calm: Chain = field(default_factory=lambda: Chain(MARKET, SUBJECTS, 0, tries_max=1))
    bars: list[tuple[int, bytes]] = field(default_factory=list)  # position, frame
    cut: int = 0  # the last position that is gone

    def run(self, cut_ns: int) -> None:
        for position, message in enumerate(self.messages, 1):
            for subject, data in said_by(self.calm, position, message):
                if subject == "bars.final.0":
                    self.bars.append((position, data))
            at_clock = message[0].startswith("ticks.clock") and not self.calm.clock_ns % MINUTE_NS
            if at_clock and self.calm.clock_ns >= cut_ns and not self.cut:
                self.cut = position

    @property
    def known(self) -> list[Message]:
        """What ingest tells again at every start."""
        told = ("ticks.daily", "ticks.reference")
        return [one for one in self.messages if one[0].startswith(told)]


def a_life(seed: int, begins: int, seconds: int, gap_s: float, eligible: bool = True) -> Life:
    made = Recorder()
    made.days(history(seed, begins // DAY_NS, 60))
    made.facts({"AAA": {"float": 5e6}})
    prints = random_prints(seed, begins, seconds, gap_s)
    made.send([replace(one, upd=7) if eligible else one for one in prints], width=5)
    return Life(made.messages)


def rebuilt(life: Life) -> tuple[Chain, list[bytes]]:
    """A chain from the bars before the cut and the input after it, and the bars it says then."""
    chain, said = Chain(MARKET, SUBJECTS, 0, tries_max=1), []
    with chain.rebuilding():
        for position, data in life.bars:
            if position <= life.cut:
                assert chain.recall("bars.final", data) == 0
    for number, message in enumerate(life.known):
        said_by(chain, number, message)
    for position, message in enumerate(life.messages, 1):
        if position > life.cut:
            found = said_by(chain, position, message)
            said += [data for subject, data in found if subject == "bars.final.0"]
    return chain, said


def asked(chain: Chain, at_ns: int) -> dict[str, dict[str, float]]:
    asking = Replay()
    asking.chain = chain
    return asking.ask(at_ns)


LIVES = {
    "in premarket, lost after the open": (1, ns(2026, 3, 6, 8, 0), 3 * 3600, 2.0, 6000),
    "over a night": (3, ns(2026, 3, 5, 14, 0), 21 * 3600, 25.0, 3 * 3600),
    "just before the end": (2, ns(2026, 3, 5, 14, 0), 21 * 3600, 25.0, 19 * 3600),
}


@pytest.mark.parametrize("which", LIVES)
def test_every_value_but_those_of_prints_is_had_again_from_bars(which: str) -> None:
    seed, begins, seconds, gap_s, cut_s = LIVES[which]
    life = a_life(seed, begins, seconds, gap_s)
    life.run(begins + cut_s * SECOND_NS)
    chain, _ = rebuilt(life)
    at_ns = begins + seconds * SECOND_NS + MINUTE_NS
    expected, found = asked(life.calm, at_ns), asked(chain, at_ns)
    assert sum(map(len, expected.values())) > 900
    wrong = difference(found, expected)
    # A value of prints is absent where no print came since; it is never another one.
    rest = [
        one for one in wrong if ": None but" not in one or not one.split()[1].startswith(WATCHED)
    ]
    assert rest == []
    assert len(wrong) < 80


def test_bars_after_the_loss_are_said_as_if_nothing_was_lost() -> None:
    life = a_life(1, ns(2026, 3, 6, 8, 0), 3600, 2.0)
    life.run(ns(2026, 3, 6, 8, 31))
    _, said = rebuilt(life)
    expected = [data for position, data in life.bars if position > life.cut]
    assert len(said) == len(expected) > 30
    mine, theirs = newest(said), newest(expected)
    assert mine.keys() == theirs.keys()
    for key, values in theirs.items():
        assert np.allclose(mine[key], values, rtol=1e-12, equal_nan=True), key
    assert any(revision for _, _, revision in theirs)


def newest(frames: list[bytes]) -> dict[tuple[str, int, int], list[float]]:
    """Bars by symbol, minute and revision: rows are numbered by who came first, so their order may differ."""
    found = {}
    for data in frames:
        frame = decode(data, SUBJECTS.record_of("bars.final"))
        columns = [frame[name].tolist() for name in ("symbol", "ts_ns", "revision")]
        rest = [frame[name] for name in ("open", "high", "low", "close", "volume", "vwap", "count")]
        for place, key in enumerate(zip(*columns, strict=True)):
            found[key] = [float(column[place]) for column in rest]
    return found


def test_volume_of_minutes_without_a_bar_cannot_be_had_from_bars() -> None:
    life = a_life(1, ns(2026, 3, 6, 8, 0), 5400, 3.0, eligible=False)
    life.run(ns(2026, 3, 6, 9, 10))
    chain, _ = rebuilt(life)
    at_ns = ns(2026, 3, 6, 9, 31)
    expected, found = asked(life.calm, at_ns), asked(chain, at_ns)
    short = [symbol for symbol in expected if found[symbol]["volume_daily"] < expected[symbol]["volume_daily"]]  # fmt: skip
    assert short  # prints that may update the volume only, alone in their minute, make no bar
    for symbol, values in expected.items():
        assert found[symbol]["volume_daily"] >= 0.5 * values["volume_daily"]


# -- the session from bars, by hand

OPEN_NS = ns(2026, 3, 6, 9, 30)


def bar(harness: Harness, minute: int, price: float, volume: float, revision: int = 0) -> None:
    """A bar of the stream, handed to a chain without state."""
    told = {"open": price, "high": price + 1, "low": price - 1, "close": price + 0.5}
    told |= {"volume": volume, "vwap": price, "count": 10, "revision": revision}
    told["ts_ns"] = OPEN_NS + minute * MINUTE_NS
    recall(harness, {"symbol": ["A"], **{name: [value] for name, value in told.items()}})


def recall(harness: Harness, columns: dict[str, Any]) -> None:
    frame = harness.frame("bars.final", **columns)
    with harness.chain.rebuilding():
        for data in encode_parts(frame, SUBJECTS.record_of("bars.final")):
            assert harness.chain.recall("bars.final", data) == 0


def value(harness: Harness, name: str) -> float:
    return float(harness.state("scanner")[name][0])


def test_a_session_that_came_as_bars_has_its_totals_and_prices() -> None:
    harness = Harness(bars, indicators, scanner)
    bar(harness, -1, 10.0, 100.0)
    bar(harness, 0, 11.0, 200.0)
    bar(harness, 1, 12.0, 300.0)
    found = {name: value(harness, name) for name in ("volume_pre", "volume_market", "open_pre", "open_market", "close_market", "last", "day_high", "ext_low")}  # fmt: skip
    assert found == {"volume_pre": 100.0, "volume_market": 500.0, "open_pre": 10.0, "open_market": 11.0, "close_market": 12.5, "last": 12.5, "day_high": 13.0, "ext_low": 9.0}  # fmt: skip
    assert math.isclose(value(harness, "vwap_closed"), (200 * 11 + 300 * 12) / 500)


def test_a_bar_said_again_counts_by_what_it_differs() -> None:
    harness = Harness(bars, indicators, scanner)
    bar(harness, 0, 11.0, 200.0)
    bar(harness, 1, 12.0, 300.0)
    bar(harness, 0, 11.0, 250.0, revision=1)
    assert value(harness, "volume_market") == 550.0


def test_minutes_seen_as_prints_do_not_count_twice_and_the_first_is_the_bars() -> None:
    harness = Harness(bars, indicators, scanner)
    bar(harness, 0, 11.0, 200.0)
    for minute, size in ((1, 40.0), (2, 50.0)):
        when = OPEN_NS + minute * MINUTE_NS + 30 * SECOND_NS
        harness.send("ticks.trades", symbol=["A"], ts_ns=[when], price=[12.0], size=[size])
    bar(harness, 1, 12.0, 300.0)  # 260 of it before the prints that came here
    assert value(harness, "volume_market") == 200.0 + 300.0 + 50.0
    bar(harness, 2, 12.0, 50.0)
    assert value(harness, "volume_market") == 550.0


def test_a_print_late_for_a_minute_that_came_as_a_bar_is_added_once() -> None:
    harness = Harness(bars, indicators, scanner)
    bar(harness, 0, 11.0, 200.0)
    bar(harness, 1, 11.0, 100.0)
    late = OPEN_NS + 30 * SECOND_NS
    harness.send("ticks.trades", symbol=["A"], ts_ns=[late], price=[11.0], size=[7.0])
    assert value(harness, "volume_market") == 307.0
    bar(harness, 0, 11.0, 207.0, revision=1)
    assert value(harness, "volume_market") == 307.0


def test_bars_that_were_said_are_revised_and_not_begun_anew() -> None:
    harness = Harness(bars)
    first = {"symbol": ["A", "A"], "price": [10.0, 11.0], "size": [100.0, 50.0]}
    harness.send("ticks.trades", ts_ns=[OPEN_NS + 1, OPEN_NS + 6 * MINUTE_NS], **first)
    said = harness.clock(OPEN_NS + 7 * MINUTE_NS)["bars.final"]
    lost = Harness(bars)
    frame = {name: said[name].tolist() for name in said.columns if name != "row"}
    recall(lost, frame | {"symbol": ["A", "A"]})
    for minute in (0, 6):  # of old bars, and of those still open for what is late
        when = OPEN_NS + minute * MINUTE_NS + 2
        lost.send("ticks.trades", symbol=["A"], ts_ns=[when], price=[12.0], size=[1.0])
    again = lost.clock(OPEN_NS + 8 * MINUTE_NS)["bars.final"]
    assert again["volume"].tolist() == [101.0, 51.0]
    assert again["open"].tolist() == [10.0, 11.0]
    assert again["revision"].tolist() == [1, 1]
