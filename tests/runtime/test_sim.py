"""The simulated market: real trading days, quotes, halts, corrections, splits and a past that fits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date

import numpy as np
import pytest

from runtime.frames import decode, encode_parts
from runtime.ingest import Splitter
from runtime.providers import MINUTE_NS, SECOND_NS, Batch, ProviderError, frame_of, open_provider
from runtime.providers.exchange import (
    HOUR_NS,
    trading_day,
    trading_days_before,
    trading_days_from,
)
from runtime.providers.history import KINDS
from runtime.providers.sim import AMENDED_AFTER_S, Parts, SimProvider
from runtime.subjects import Subjects
from tests.runtime.test_providers import digest

ALL_PARTS = "symbols=40&seed=5&dirt=bad&history=5"


def taken(url: str, batches: int, *kinds: str) -> Iterator[Batch]:
    for batch in itertools.islice(open_provider(url).batches(), batches):
        if not kinds or batch.kind in kinds:
            yield batch


def joined(batches: list[Batch], name: str) -> np.ndarray:
    return np.concatenate([batch.columns[name] for batch in batches])


def test_days_are_those_of_the_exchange() -> None:
    assert trading_day(date(2026, 1, 19)) is None  # Martin Luther King
    assert trading_day(date(2026, 1, 17)) is None  # a Saturday
    half = trading_day(date(2025, 11, 28))
    assert half is not None
    assert half.is_half
    assert (half.close_ns - half.midnight_ns, half.end_ns - half.close_ns) == (13 * HOUR_NS, 4 * HOUR_NS)  # fmt: skip
    after = trading_days_from(date(2025, 11, 27), 2)
    assert [one.date.day for one in after] == [28, 1]
    assert [one.date.day for one in trading_days_before(date(2025, 12, 1), 2)] == [26, 28]


def test_a_half_day_ends_at_five_and_the_weekend_is_passed_over() -> None:
    url = "sim://?symbols=5&rate=0.2&start=2025-11-28T16:59&days=2&history=0"
    clocks = joined(list(taken(url, 400, "clock")), "ts_ns")
    end = next(one for one in np.diff(clocks) if one > HOUR_NS)
    half, monday = trading_days_from(date(2025, 11, 28), 2)
    assert end == monday.start_ns - (half.end_ns + 2 * SECOND_NS)


def test_every_kind_of_event_fits_its_record_and_keeps_its_place(subjects: Subjects) -> None:
    splitter = Splitter(subjects, "test")
    kinds, clock_ns = set(), dict.fromkeys(range(subjects.partitions), 0)
    outgoing = []
    for batch in taken(f"sim://?{ALL_PARTS}&start=2026-01-06T09:55&rate=40", 4000):
        outgoing += list(splitter.split(batch))
    outgoing += list(splitter.flush())
    for out in outgoing:
        kinds.add(out.base)
        for data in encode_parts(out.frame, subjects.record_of(out.base)):
            decode(data, subjects.record_of(out.base))
        if out.base == "ticks.clock":
            assert out.frame["ts_ns"][0] > clock_ns[out.partition]
            clock_ns[out.partition] = int(out.frame["ts_ns"][-1])
        elif out.base == "ticks.quotes":
            assert (out.frame["ts_ns"] >= clock_ns[out.partition]).all()
            assert (out.frame["bid"] < out.frame["ask"]).all()
    wanted = {"trades", "quotes", "clock", "daily", "reference", "corrections"}
    assert kinds >= {f"ticks.{kind}" for kind in wanted}


def test_a_dirty_market_that_stopped_goes_on_as_if_it_had_not() -> None:
    def market() -> SimProvider:
        return SimProvider(30, 5, rate=30.0, parts=Parts("bad", history=3))

    whole = list(itertools.islice(market().batches(), 400))
    at = [k for k, batch in enumerate(whole) if batch.kind == "clock"][30]
    after_ns = whole[at].newest_ns
    assert digest(market(), 100, after_ns) == digest(market(), at + 101)[at + 1 :]


def test_corrections_follow_the_prints_they_mend() -> None:
    printed: dict[int, tuple[float, int]] = {}
    clock_ns, cancelled, mended, again = 0, 0, 0, 0
    for batch in taken("sim://?symbols=40&dirt=bad&history=0&quotes=0&rate=60", 900):
        if batch.kind == "clock":
            clock_ns = batch.newest_ns
        elif batch.kind == "trades":
            for ident, price in zip(batch.columns["id"].tolist(), batch.columns["price"].tolist(), strict=True):  # fmt: skip
                again += ident in printed
                printed[ident] = (price, clock_ns)
        elif batch.kind == "corrections":
            for ident, ts_ns, price, right in zip(*(batch.columns[n].tolist() for n in ("id", "ts_ns", "price", "new_price")), strict=True):  # fmt: skip
                if ts_ns < clock_ns - (AMENDED_AFTER_S + 1) * SECOND_NS or ident not in printed:
                    continue  # printed before the simulation began
                assert printed[ident][0] == price
                assert clock_ns // SECOND_NS - ts_ns // SECOND_NS == AMENDED_AFTER_S
                cancelled += bool(np.isnan(right))
                mended += not np.isnan(right) and right != price
    assert cancelled > 20
    assert mended > 20
    assert 0.01 < again / len(printed) < 0.03


def test_a_clean_market_is_in_order_and_has_round_lots_only() -> None:
    batches = list(taken("sim://?symbols=40&dirt=clean&history=0&quotes=0", 300, "trades"))
    assert (np.diff(joined(batches, "ts_ns")) >= 0).all()
    assert (joined(batches, "upd") == 7).all()
    assert len(set(joined(batches, "id").tolist())) == len(joined(batches, "id"))


def test_the_year_before_fits_the_market() -> None:
    batches = list(taken("sim://?symbols=60&history=250", 700))
    daily = [batch for batch in batches if batch.kind == "daily"]
    assert [len(batch) for batch in daily] == [60] * 250
    days = joined(daily, "ts_ns")
    assert (np.diff(days) >= 0).all()
    assert days[-1] == trading_days_before(date(2026, 1, 5), 1)[0].stamp_ns
    for name in ("open", "close"):
        assert (joined(daily, "low") <= joined(daily, name)).all()
        assert (joined(daily, "high") >= joined(daily, name)).all()
    first = next(batch for batch in batches if batch.kind == "trades")
    assert first.index is not None
    gaps = np.log(first.columns["price"] / daily[-1].columns["close"][first.index])
    assert np.abs(gaps).max() < 0.5
    assert np.median(np.abs(gaps)) < 0.1
    facts = next(batch for batch in batches if batch.kind == "reference")
    assert {"float", "marketcap", "news_ns", "earnings_ns"} <= set(facts.columns["name"].tolist())
    assert all(batch.kind in KINDS for batch in batches[: batches.index(facts) + 1])


def test_a_split_is_told_the_day_before_and_halves_or_doubles_the_price() -> None:
    provider = SimProvider(300, 7, parts=Parts())
    days = trading_days_from(date(2026, 1, 5), 40)
    past = provider._past
    found = [(a, b, *past.splits(a.date, b.date)) for a, b in itertools.pairwise(days)]
    day, following, who, factor = next(one for one in found if len(one[2]))
    ratio = past.level(following.date)[who] / past.level(day.date)[who]
    assert np.allclose(ratio, factor, rtol=0.1)
    assert set(factor.tolist()) <= {0.5, 2.0}
    told_ns = day.close_ns + 30 * MINUTE_NS
    for batch in SimProvider(300, 7, rate=0.5, parts=Parts(quotes=False)).batches(told_ns - SECOND_NS):  # fmt: skip
        if batch.kind == "reference":
            assert batch.columns["ts_ns"][0] == following.stamp_ns  # dated with its day
            assert batch.columns["value"].tolist() == factor.tolist()
            break
    (last,) = past.days(following, 1)
    assert np.flatnonzero(np.isfinite(last.columns["factor"])).tolist() == who.tolist()


def test_halted_symbols_print_and_quote_nothing() -> None:
    provider = SimProvider(200, 7, rate=200.0, parts=Parts("clean", history=0))
    drawn = provider._drawn_day(trading_days_from(date(2026, 1, 5), 1)[0])
    who = int(np.flatnonzero(drawn.halted_from < 900)[0])
    minute = int(drawn.halted_from[who])
    begins_ns = drawn.midnight_ns + (240 + minute) * MINUTE_NS
    codes, events = [], 0
    for batch in provider.batches(begins_ns - SECOND_NS):
        if batch.kind == "clock" and batch.newest_ns > begins_ns + 5 * MINUTE_NS:
            break
        if batch.index is not None:
            mine = batch.index == who
            ts_ns = batch.columns["ts_ns"][mine]
            if batch.kind == "status":
                codes += batch.columns["code"][mine].tolist()
            else:
                halted = (ts_ns >= begins_ns) & (ts_ns < begins_ns + 5 * MINUTE_NS)
                events += int(halted.sum())
    assert codes == [1, 0]
    assert events == 0


@pytest.mark.parametrize(
    ("parameters", "kinds"),
    [
        ("quotes=0&history=0", {"clock", "trades", "corrections"}),
        ("quotes=1&history=0", {"clock", "trades", "quotes", "corrections"}),
        ("quotes=0&history=0&dirt=clean", {"clock", "trades"}),
    ],
)
def test_what_is_left_out_does_not_come(parameters: str, kinds: set[str]) -> None:
    url = f"sim://?symbols=40&rate=200&halts=0&{parameters}"
    assert {batch.kind for batch in taken(url, 600)} == kinds


def test_the_batch_of_a_frame_is_whole() -> None:
    batch = next(taken("sim://?symbols=7&history=1", 1))
    assert frame_of(batch, "sim")["symbol"].tolist() == batch.symbols


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sim://?dirt=filthy", "expected one of clean, usual, bad"),
        ("sim://?quotes=yes", "expected 0 or 1"),
        ("sim://?history=9999", "expected 0 to 1000 trading days"),
        ("sim://?splitz=1", "did you mean splits?"),
    ],
)
def test_a_wrong_parameter_says_what_was_expected(url: str, says: str) -> None:
    with pytest.raises(ProviderError) as caught:
        open_provider(url)
    assert says in str(caught.value)
