"""`jetscan metrics`: times, names and files as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from runtime.cli import main
from runtime.tables import write_parquet

FIRST_NS = 1_522_800_000_000_000_000  # 2018-04-04T00:00:00Z
MINUTE_NS = 60_000_000_000


@pytest.fixture
def bars(tmp_path: Path) -> str:
    columns: dict[str, Any] = {"symbol": ["BTCUSD"] * 5}
    columns["ts_ns"] = FIRST_NS + np.arange(5) * MINUTE_NS
    for name in ("open", "high", "low", "close"):
        columns[name] = np.arange(5) + 100.0
    columns["volume"] = np.ones(5)
    write_parquet(tmp_path / "bars.parquet", columns)
    return str(tmp_path / "bars.parquet")


def metrics(*words: str) -> Result:
    return CliRunner().invoke(main, ["metrics", *words])


def test_a_time_that_is_asked_twice_is_answered_once(bars: str, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    times = "2018-04-04T00:03:00Z, 2018-04-04T02:03:00+02:00,2018-04-04T00:02:00"
    result = metrics("--bars", bars, "--names", "price", "--at", times, "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["values"], told["times"]) == (2, 2)
    found = pl.read_parquet(out).sort("ts_ns")
    assert found["ts_ns"].to_list() == [FIRST_NS + 2 * MINUTE_NS, FIRST_NS + 3 * MINUTE_NS]
    assert found["value"].to_list() == [101.0, 102.0]


@pytest.mark.parametrize("time", ["2017-04-04T00:03:00Z", "1890-01-01", "1975-01-01"])
def test_times_before_the_data_have_no_values_and_it_says_so(
    bars: str, tmp_path: Path, time: str
) -> None:
    out = tmp_path / "out.parquet"
    result = metrics("--bars", bars, "--at", time, "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "no values" in result.stderr
    assert pl.read_parquet(out).height == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--names", "rsi_14_5", "--at", "1"), "did you mean rsi_14_5m"),
        (("--at", "yesterday"), "--at yesterday: expected nanoseconds or an ISO time"),
        (("--names", "price", "--at", "1522800180000000000", "--out", "/nowhere/x"), "cannot be written"),
        (("--at", ","), "--at: expected at least one time"),
        (("--at", "2018"), "as nanoseconds this is no time from 1973 to 2261"),
        (("--at", "1522800180000"), "as nanoseconds this is no time from 1973 to 2261"),
        (("--at", "9999-01-01"), "expected a year from 1678 to 2261"),
        (("--names", "price", "--at", "2150-01-01"), "expected nanoseconds within 1990 to 2040"),
        (("--at", "1522800180000000000", "--out", "/dev/null"), "it is there and no file"),
        ((), "expected --at TIME"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_what_to_do(
    bars: str, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    out = () if "--out" in words else ("--out", str(tmp_path / "out.parquet"))
    result = metrics("--bars", bars, *out, *words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_nine_digits_of_a_second_are_taken_as_they_are(bars: str, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    time = "2018-04-04T00:03:00.123456789Z"
    assert metrics("--bars", bars, "--names", "price", "--at", time, "--out", str(out)).exit_code == 0  # fmt: skip
    assert pl.read_parquet(out)["ts_ns"].to_list() == [FIRST_NS + 3 * MINUTE_NS + 123_456_789]


def test_the_list_tells_everything_of_a_name_as_json() -> None:
    (row,) = json.loads(metrics("--list", "--names", "rsi_14_5m", "--json").stdout)
    assert row["warm_up"] == "15 candles of 5m"
    kinds = {row["kind"] for row in json.loads(metrics("--list", "--json").stdout)}
    assert kinds == {"base", "indicator", "part", "filter", "alert", "helper", "toplist"}
    assert "gainers_1d" in metrics("--list").stdout


HEAD = "symbol,date,open,high,low,close,volume\n"


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--daily", HEAD, "holds no bars"),
        ("--daily", "", "cannot be read: empty CSV"),
        ("--daily", HEAD + "A,,1,1,1,1,5\nA,2018-01-02,1,1,1,1,5", "column date, row 1: expected a date"),
        ("--daily", HEAD + "A,2018-01-02,NaN,1,1,1,5", "column open, row 1: expected a price above 0"),
        ("--reference", "symbol,float\n", "holds no facts"),
        ("--reference", "symbol,float\nA,many", "column float: expected numbers or times"),
        ("--reference", "symbol,float,ts_ns\nA,5,noon", "column ts_ns: expected whole nanoseconds"),
    ],
)  # fmt: skip
def test_a_file_of_what_is_known_that_is_wrong_is_refused_by_column_and_row(
    bars: str, tmp_path: Path, option: str, text: str, message: str
) -> None:
    (tmp_path / "known.csv").write_text(text, encoding="utf-8")
    words = ("--names", "price", "--at", "2018-04-04T00:03", "--out", str(tmp_path / "out.parquet"))
    result = metrics("--bars", bars, option, str(tmp_path / "known.csv"), *words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
