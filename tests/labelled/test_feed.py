"""The labelled feed: the same for everybody, resumable, readable, and mended by its own corrections."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from runtime.cli import main
from runtime.frames import decode, encode_parts
from runtime.providers import Batch, ProviderError, frame_of, open_provider
from runtime.providers.labelled.dirt import DIRT, arrivals
from runtime.providers.labelled.market import make_market
from runtime.providers.labelled.provider import LabelledProvider
from runtime.subjects import Subjects
from runtime.tables import read_bars, read_facts, read_trades


def digest(batch: Batch) -> str:
    raw = repr([(name, values.tolist()) for name, values in batch.columns.items()])
    return hashlib.sha256(f"{batch.kind}{raw}".encode()).hexdigest()


def test_a_seed_is_a_market() -> None:
    one, same, other = make_market(3), make_market(3), make_market(4)
    assert (one.trades["price"] == same.trades["price"]).all()
    assert one.trades["price"].tolist() != other.trades["price"].tolist()


def test_a_feed_that_stopped_goes_on_as_if_it_had_not() -> None:
    whole = list(itertools.islice(LabelledProvider(7, "bad").batches(), 600))
    stop = [k for k, batch in enumerate(whole) if batch.kind == "clock"][40]
    resumed = LabelledProvider(7, "bad").batches(whole[stop].newest_ns)
    later = [digest(batch) for batch in itertools.islice(resumed, 100)]
    assert later == [digest(batch) for batch in whole[stop + 1 : stop + 101]]


def test_clocks_ascend_and_no_print_on_time_is_behind_its_clock() -> None:
    clock_ns = 0
    for batch in itertools.islice(LabelledProvider(7, "clean").batches(), 800):
        if batch.kind == "clock":
            assert (np.diff(batch.columns["ts_ns"]) > 0).all()
            assert batch.columns["ts_ns"][0] > clock_ns
            clock_ns = batch.newest_ns
        elif batch.kind == "trades":
            assert (batch.columns["ts_ns"] >= clock_ns).all()


def test_every_kind_of_event_fits_its_record(subjects: Subjects) -> None:
    seen: dict[str, int] = {}
    for batch in LabelledProvider(7, "bad").batches():
        if seen.setdefault(batch.kind, 0) < 3:
            seen[batch.kind] += 1
            record = subjects.record_of(batch.base)
            for data in encode_parts(frame_of(batch, "test"), record):
                decode(data, record)
    assert set(seen) == {"daily", "reference", "clock", "quotes", "trades", "status", "corrections"}


@pytest.mark.parametrize("level", DIRT)
def test_corrections_and_ids_give_the_true_prints_back(level: str) -> None:
    market = make_market(7)
    told = arrivals(market.trades, level, 7)
    prints = {
        (ident, ts_ns): price
        for ident, ts_ns, price, upd in columns(told.trades, "id", "ts_ns", "price", "upd")
        if upd == 7
    }
    for ident, ts_ns, price, new_price in columns(told.corrections, "id", "ts_ns", "price", "new_price"):  # fmt: skip
        assert prints[ident, ts_ns] == price
        if np.isnan(new_price):
            del prints[ident, ts_ns]
        else:
            prints[ident, ts_ns] = new_price
    assert prints == {(i, t): p for i, t, p in columns(market.trades, "id", "ts_ns", "price")}


def columns(table: dict[str, Any], *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].tolist() for name in names), strict=True))


def test_dirt_is_as_much_as_it_says() -> None:
    market = make_market(7)
    count = len(market.trades["ts_ns"])
    clean = arrivals(market.trades, "clean", 7)
    assert len(clean.trades["ts_ns"]) == count
    assert len(clean.corrections["ts_ns"]) == 0
    bad = arrivals(market.trades, "bad", 7)
    assert 0.045 < (bad.trades["arrived_ns"] > bad.trades["ts_ns"] + 2 * 10**9).mean() * len(bad.trades["id"]) / count < 0.055  # fmt: skip
    assert 0.33 < (bad.trades["upd"] == 1).sum() / count < 0.38
    assert 0.008 < len(bad.corrections["ts_ns"]) / count < 0.012
    assert (np.diff(bad.trades["arrived_ns"]) >= 0).all()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("labelled://?dirt=filthy", "expected one of clean, usual, bad"),
        ("labelled://?seeds=3", "did you mean seed?"),
        ("labelled://x", "expected parameters only"),
    ],
)
def test_a_wrong_labelled_feed_says_what_was_expected(url: str, says: str) -> None:
    with pytest.raises(ProviderError) as caught:
        open_provider(url)
    assert says in str(caught.value)


def test_the_files_of_the_market_are_read_by_the_tools_that_read_files(tmp_path: Path) -> None:
    out = tmp_path / "market"
    told = CliRunner().invoke(main, ["sim", "--out", str(out), "--dirt", "usual", "--json"])
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)["rows"]
    assert len(read_trades(out / "trades.parquet")["ts_ns"]) == rows["trades"]
    assert len(read_bars(out / "daily.parquet")["ts_ns"]) == rows["daily"]
    assert "float" in read_facts(out / "reference.parquet")["name"]
    truth = pl.read_parquet(out / "truth.parquet")
    assert truth.height == rows["truth"]
    assert (truth["seen_ns"] >= truth["ts_ns"]).all()
