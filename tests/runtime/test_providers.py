"""Feeds: the simulator is the same market for everybody, files are read or refused, clocks follow the data."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from runtime.ingest import Splitter
from runtime.providers import SECOND_NS, Batch, ProviderError, clocks_between, open_provider
from runtime.providers.file import FileProvider
from runtime.providers.sim import SimProvider, intensity
from runtime.subjects import Subjects, partition_of
from runtime.tables import TableError, read_trades, write_parquet

T0 = 1_767_623_400_000_000_000


def digest(provider: SimProvider, batches: int, after_ns: int = 0) -> list[str]:
    found = []
    for batch in itertools.islice(provider.batches(after_ns), batches):
        raw = b"".join(values.tobytes() for values in batch.columns.values())
        found.append(hashlib.sha256(batch.kind.encode() + raw).hexdigest())
    return found


def test_the_same_seed_is_the_same_market_in_another_process() -> None:
    code = (
        "from tests.runtime.test_providers import *;"
        "print(hashlib.sha256(repr(digest(SimProvider(50, 3), 60)).encode()).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    assert other == hashlib.sha256(repr(digest(SimProvider(50, 3), 60)).encode()).hexdigest()
    assert digest(SimProvider(50, 3), 60) != digest(SimProvider(50, 4), 60)


@pytest.mark.parametrize("stop", [1, 7, 100])
def test_a_market_that_stopped_goes_on_as_if_it_had_not(stop: int) -> None:
    whole = list(itertools.islice(SimProvider(20, 5).batches(), 400))
    clocks = [k for k, batch in enumerate(whole) if batch.kind == "clock"]
    at = clocks[stop]
    after_ns = int(whole[at].columns["ts_ns"][-1])
    resumed = digest(SimProvider(20, 5), 100, after_ns)
    assert resumed == digest(SimProvider(20, 5), at + 101)[at + 1 :]


def test_the_simulated_market_looks_like_one() -> None:
    batches = [
        b for b in itertools.islice(SimProvider(300, 7).batches(), 600) if b.kind == "trades"
    ]
    ts_ns = np.concatenate([batch.columns["ts_ns"] for batch in batches])
    size = np.concatenate([batch.columns["size"] for batch in batches])
    upd = np.concatenate([batch.columns["upd"] for batch in batches])
    index = np.concatenate([batch.index for batch in batches if batch.index is not None])
    late = (ts_ns < np.maximum.accumulate(ts_ns // SECOND_NS * SECOND_NS)).mean()
    assert 0.005 < late < 0.02
    assert ((size < 100) == (upd == 1)).all()
    assert 0.3 < (upd == 1).mean() < 0.4
    counts = np.sort(np.bincount(index, minlength=300))[::-1]
    assert counts[:30].sum() > 0.4 * counts.sum()
    assert intensity(9 * 3600 + 1800) > 1.5 * intensity(12 * 3600 + 2700)
    assert intensity(5 * 3600) < 0.1


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


CSV = f"symbol,ts_ns,price,size\nA,{T0},10.5,100\nB,{T0 + 5},20,0.25\nA,{T0 + 3},10.75,7\n"


def test_csv_gzip_and_parquet_are_the_same_trades(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.csv", CSV)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(CSV.encode()))
    table = tmp_path / "a.parquet"
    pl.read_csv(plain).write_parquet(table)
    found = [read_trades(path) for path in (plain, packed, table)]
    for columns in found:
        assert columns["symbol"] == ["A", "B", "A"]
        assert columns["size"].tolist() == [100.0, 0.25, 7.0]
        assert columns["ts_ns"].tolist() == [T0, T0 + 5, T0 + 3]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "symbol,ts_ns,price\nA,1,2\n", "column size is missing"),
        ("a.csv", "symbol,ts_ns,price,size\n", "holds no trades"),
        ("a.csv", CSV.replace("20,0.25", "-1,5"), "column price, row 2: expected a price above 0"),
        (
            "a.csv",
            CSV.replace("20,0.25", ",5"),
            "column price, row 2: expected a value, found none",
        ),
        ("a.csv", CSV.replace("20,0.25", "20,-5"), "column size, row 2: expected a size from 0"),
        ("a.csv", CSV.replace("10.5", "ten"), "column price: expected Float64"),
        ("a.csv", CSV.replace(f"{T0 + 3}", "1.5"), "column ts_ns: expected whole nanoseconds"),
        ("a.txt", CSV, "expected a name that ends in"),
        ("a.parquet", CSV, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_names_column_and_row(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    with pytest.raises(TableError) as caught:
        read_trades(write(tmp_path / name, text))
    assert says in str(caught.value)
    assert name in str(caught.value)


def test_a_parquet_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be written"):
        write_parquet(tmp_path / "no" / "x.parquet", {"a": [1]})
    write_parquet(tmp_path / "x.parquet", {"a": [1]})
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_files_are_ordered_by_time_and_rows_break_ties(tmp_path: Path) -> None:
    one = write(tmp_path / "1.csv", f"symbol,ts_ns,price,size\nA,{T0 + 2},1,1\nA,{T0 + 2},2,1\n")
    two = write(tmp_path / "2.csv", f"symbol,ts_ns,price,size\nB,{T0},3,1\nB,{T0 + 2},4,1\n")
    trades = [b for b in FileProvider([one, two]).batches() if b.kind == "trades"]
    assert np.concatenate([b.columns["price"] for b in trades]).tolist() == [3.0, 1.0, 2.0, 4.0]


def test_a_clock_event_comes_before_the_trade_that_reaches_it(tmp_path: Path) -> None:
    times = [T0, T0 + 900_000_000, T0 + SECOND_NS, T0 + 500, T0 + 2 * SECOND_NS + 1]
    rows = "".join(f"A,{ts},1,1\n" for ts in times)
    file = write(tmp_path / "a.csv", "symbol,ts_ns,price,size\n" + rows)
    shown = []
    for batch in FileProvider([file], order="arrival").batches():
        shown.append((batch.kind, [int(ts - T0) for ts in batch.columns["ts_ns"]]))
    assert shown[:6] == [
        ("clock", [0]),
        ("trades", [0, 900_000_000]),
        ("clock", [SECOND_NS]),
        ("trades", [SECOND_NS, 500]),
        ("clock", [2 * SECOND_NS]),
        ("trades", [2 * SECOND_NS + 1]),
    ]
    assert shown[6][1][-1] == 62 * SECOND_NS


def test_a_night_costs_minutes_of_clock_events_not_seconds() -> None:
    clocks = clocks_between(T0, T0 + 10 * 3600 * SECOND_NS)
    assert 600 < len(clocks) < 800
    assert (np.diff(clocks) > 0).all()
    assert clocks[-1] == T0 + 10 * 3600 * SECOND_NS


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sim://?symbol=5", "did you mean symbols?"),
        ("sim://?symbols=0", "expected 1 to"),
        ("sim://?speed=fast", "'fast' is not understood"),
        ("sim://x", "expected parameters only"),
        ("tape://x", "expected one of sim://, file://"),
        ("file:///no/such.csv", "no file /no/such.csv"),
    ],
)
def test_a_wrong_feed_says_what_was_expected(url: str, says: str) -> None:
    with pytest.raises(ProviderError) as caught:
        open_provider(url)
    assert says in str(caught.value)


def test_frames_keep_order_and_lose_nothing_in_every_partition(subjects: Subjects) -> None:
    splitter = Splitter(subjects, "test")
    published: dict[int, list[tuple[str, float]]] = {}
    given: dict[int, list[tuple[str, float]]] = {}
    outgoing = []
    for batch in itertools.islice(SimProvider(200, 1).batches(), 60):
        if batch.kind == "status":
            continue
        note(given, batch, subjects)
        outgoing += list(splitter.split(batch))
    outgoing += list(splitter.flush())
    for out in outgoing:
        rows = published.setdefault(out.partition, [])
        if out.base == "ticks.clock":
            rows += [("clock", float(ts)) for ts in out.frame["ts_ns"]]
        else:
            rows += list(
                zip(out.frame["symbol"].tolist(), out.frame["price"].tolist(), strict=True)
            )
    assert published == given


def note(given: dict[int, list[tuple[str, float]]], batch: Batch, subjects: Subjects) -> None:
    if batch.index is None:
        for partition in range(subjects.partitions):
            given.setdefault(partition, []).extend(
                ("clock", float(ts)) for ts in batch.columns["ts_ns"]
            )
        return
    for one, price in zip(batch.index.tolist(), batch.columns["price"].tolist(), strict=True):
        symbol = batch.symbols[one]
        given.setdefault(partition_of(symbol, subjects.partitions), []).append((symbol, price))
