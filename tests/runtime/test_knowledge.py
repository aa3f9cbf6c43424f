"""Reference data fetched into folders and the database, and told anew beside a feed that runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from runtime.cli import main
from runtime.config import Settings
from runtime.fetching import (
    calendar_differences,
    copy_tables,
    fetch_into,
    open_vendor,
    store_folder,
)
from runtime.knowledge import Knowledge, next_refresh_ns
from runtime.providers import Batch, ProviderError, clock_batch
from runtime.providers.history import DAY_NS, Beside, known_in_time
from runtime.reference import load
from runtime.store import Store
from runtime.tables import TableError, read_columns, write_parquet
from tests.answers import Answer, answering
from tests.conftest import database_in

NOW = datetime(2026, 1, 9, 8, 45, tzinfo=UTC)
HOUR_NS = 3_600_000_000_000


def ns(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000_000  # type: ignore[misc,arg-type]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASSIVE_KEY", "the key")
    monkeypatch.setattr("runtime.providers.rest.WAIT_S", 0.01)


class Massive:
    """A vendor whose tables a test changes between two fetches."""

    def __init__(self) -> None:
        self.bars = {date(2026, 1, day): 10.0 + day for day in (5, 6, 7)}
        self.earnings = ["2026-01-12"]
        self.status = 200

    def __call__(self, path: str, given: dict[str, str]) -> Answer:
        if path == "/v1/marketstatus/upcoming":
            return 200, []
        if path == "/benzinga/v1/earnings":
            return self.status, {"results": [{"ticker": "A", "date": day} for day in self.earnings]}
        if path.startswith("/v2/aggs/grouped"):
            close = self.bars.get(date.fromisoformat(path[-10:]))
            bar = {"T": "A", "o": 1, "h": 99, "l": 1, "c": close, "v": 10}
            return 200, {"results": [bar] if close else []}
        return 403, {"message": "not in the plan"}


async def fetched(folder: Path, address: str, *tables: str, now: datetime = NOW) -> dict[str, Any]:
    vendor, symbols = open_vendor(f"massive?symbols=A&rest={address}")
    found = await asyncio.to_thread(
        fetch_into, folder, vendor, symbols, tables, now, lambda *_: None
    )
    return {one.table: one for one in found}


# -- fetching


async def test_a_second_fetch_asks_for_what_came_since_and_for_what_may_have_been_corrected(
    tmp_path: Path,
) -> None:
    async with answering(Massive()) as (rest, address):
        first = await fetched(tmp_path, address, "daily_bars")
        asked = len(rest.asked)
        assert first["daily_bars"].rows == 3
        rest.answers.bars = {date(2026, 1, 7): 20.0, date(2026, 1, 9): 30.0}  # type: ignore[attr-defined]
        later = NOW + timedelta(days=1)
        assert (await fetched(tmp_path, address, "daily_bars", now=later))["daily_bars"].rows == 2
    assert asked > 250
    assert [path[-10:] for path, _ in rest.asked[asked:]] == ["2026-01-02", *(f"2026-01-0{k}" for k in range(5, 10))]  # fmt: skip
    bars = read_columns(tmp_path / "daily_bars.parquet", ["symbol"])
    assert dict(zip((day.day for day in bars["day"]), bars["close"], strict=True)) == {5: 15.0, 6: 16.0, 7: 20.0, 9: 30.0}  # fmt: skip


async def test_another_list_of_symbols_is_fetched_from_the_beginning(tmp_path: Path) -> None:
    async with answering(Massive()) as (rest, address):
        await fetched(tmp_path, address, "daily_bars")
        asked = len(rest.asked)
        vendor, symbols = open_vendor(f"massive?symbols=A,B&rest={address}")
        await asyncio.to_thread(
            fetch_into, tmp_path, vendor, symbols, ("daily_bars",), NOW, lambda *_: None
        )
    assert len(rest.asked) == 2 * asked


async def test_earnings_that_were_moved_are_not_kept_twice(tmp_path: Path, store: Store) -> None:
    async with answering(Massive()) as (rest, address):
        await store_folder(
            store, tmp_path, list((await fetched(tmp_path, address, "earnings")).values())
        )
        rest.answers.earnings = ["2026-01-14"]  # type: ignore[attr-defined]
        await store_folder(
            store, tmp_path, list((await fetched(tmp_path, address, "earnings")).values())
        )
    moved = datetime(2026, 1, 14, tzinfo=UTC)
    assert read_columns(tmp_path / "earnings.parquet", ["symbol"])["timestamp"] == [moved]
    rows = await store.fetch("SELECT symbol, timestamp FROM earnings")
    assert rows == [{"symbol": "A", "timestamp": moved}]


async def test_what_is_refused_is_told_and_what_was_known_stays(tmp_path: Path) -> None:
    async with answering(Massive()) as (rest, address):
        await fetched(tmp_path, address, "earnings")
        rest.answers.status = 500  # type: ignore[attr-defined]
        found = await fetched(tmp_path, address, "earnings", "splits", "renames")
    assert found["earnings"].is_passing
    assert "status 500" in found["earnings"].problem
    assert not found["splits"].is_passing
    assert "not in the plan" in found["splits"].problem
    assert len(read_columns(tmp_path / "earnings.parquet", ["symbol"])["symbol"]) == 1


async def test_a_folder_that_takes_no_files_says_so(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    with pytest.raises(TableError, match=str(taken)):
        await fetched(taken, "http://127.0.0.1:9", "earnings")


# -- the database


async def test_the_tables_of_the_database_become_a_folder(store: Store, tmp_path: Path) -> None:
    files = {
        "splits": "symbol,day,factor\nA,2026-01-06,0.5\n",
        "renames": "symbol,day,new_symbol\nFB,2026-01-07,META\n",
        "symbols": "symbol,exchange,active_to\nA,XNYS,\nGONE,XNYS,2020-01-01\n",
        "fundamentals": "symbol,name,known_at,value\nA,float,2026-01-05T00:00:00Z,7\n",
        "earnings": "symbol,timestamp\nA,2026-01-08T00:00:00Z\nA,2026-04-08T00:00:00Z\n",
        "news_times": "symbol,timestamp,id\nA,2026-01-08T13:00:00Z,n1\n",
        "daily_bars": "symbol,day,open,high,low,close,volume\nA,2026-01-05,1,2,1,2,10\nA,2020-01-05,1,2,1,2,10\n",
    }
    for table, text in files.items():
        file = tmp_path / f"{table}.csv"
        file.write_text(text)
        assert (await load(store, table, file)).bad == ()
    folder = tmp_path / "copy"
    folder.mkdir()
    write_parquet(
        folder / "splits.parquet", {"symbol": ["OLD"], "day": [date(2026, 1, 1)], "factor": [2.0]}
    )
    await copy_tables(store, folder, NOW)
    assert events(known_in_time([], [folder])) == [
        ("reference", "A", "exchange.XNYS", 1.0),
        ("reference", "A", "earnings_ns", float(ns(2026, 1, 8))),
        ("reference", "A", "float", 7.0),
        ("reference", "A", "split", 0.5),
        ("daily", "A", "close", 2.0),
        ("reference", "FB", "ended", 1.0),
        ("reference", "A", "news_ns", float(ns(2026, 1, 8, 13))),
        ("reference", "A", "earnings_ns", float(ns(2026, 4, 8))),
    ]
    await store.execute("DELETE FROM splits")
    await copy_tables(store, folder, NOW)
    assert not (folder / "splits.parquet").exists()


def events(known: list[tuple[int, Batch]]) -> list[tuple[str, str, str, float]]:
    """(kind, symbol, name, value) of all that is known, in order; of a bar its close."""
    return [one for _, batch in known for one in of_batch(batch)]


def of_batch(batch: Batch) -> list[tuple[str, str, str, float]]:
    assert batch.index is not None
    symbols = [batch.symbols[k] for k in batch.index.tolist()]
    names = batch.columns["name"].tolist() if "name" in batch.columns else ["close"] * len(symbols)
    values = batch.columns["value" if "value" in batch.columns else "close"].tolist()
    return [(batch.kind, *one) for one in zip(symbols, names, values, strict=True)]


# -- told anew


class Files:
    """Reference files that somebody writes while a feed runs."""

    def __init__(self, folder: Path) -> None:
        self.facts, self.days = folder / "facts.csv", folder / "days.csv"
        self.beside: Beside | None = None

    def known(self, facts: str, days: str = "") -> list[tuple[int, Batch]]:
        self.facts.write_text(f"symbol,name,value,ts_ns\n{facts}")
        self.days.write_text(f"symbol,date,open,high,low,close,volume\n{days}")
        return known_in_time([self.days] if days else [], [self.facts])

    def told(self, facts: str, days: str = "", at: int = ns(2026, 1, 9, 9)) -> list[Any]:
        """What is told at a clock event, when the files say this."""
        known = self.known(facts, days)
        if self.beside is None:
            self.beside = Beside(known, is_renewed=True)
        else:
            self.beside.renew(self.beside.news(known))
        batches = list(self.beside.around(clock_batch(np.array([at]))))
        return [one for batch in batches if batch.index is not None for one in of_batch(batch)]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


DAYS = "A,2026-01-07,1,9,1,7,10\nA,2026-01-08,1,9,1,8,10\nB,2026-01-08,1,9,1,5,10\n"


def test_only_what_is_new_is_told_anew(files: Files) -> None:
    assert len(files.told("A,float,5,0\nB,float,6,0\n", DAYS)) == 5
    assert files.told("A,float,5,0\nB,float,6,0\n", DAYS, at=ns(2026, 1, 9, 10)) == []
    changed = files.told("A,float,5,0\nB,float,7,0\nC,float,1,0\n", DAYS, at=ns(2026, 1, 9, 11))
    assert changed == [("reference", "B", "float", 7.0), ("reference", "C", "float", 1.0)]


def test_a_new_day_is_told_alone_and_another_past_with_all_that_follows_it(files: Files) -> None:
    at = ns(2026, 1, 9, 12)
    files.told("A,float,5,0\n", DAYS, at)
    new = DAYS + "A,2026-01-09,1,9,1,6,10\n"
    at += DAY_NS
    assert files.told("A,float,5,0\n", new, at) == [("daily", "A", "close", 6.0)]
    corrected = new.replace("A,2026-01-07,1,9,1,7,10", "A,2026-01-07,1,9,1,7.5,10")
    told = files.told("A,float,5,0\n", corrected, at + HOUR_NS)
    assert told == [("daily", "A", "close", close) for close in (7.5, 8.0, 6.0)]


def test_a_fact_that_is_older_than_what_was_told_is_not_told(files: Files) -> None:
    new, old = ns(2026, 1, 8), ns(2026, 1, 6)
    files.told(f"A,float,5,{new}\n")
    assert files.told(f"A,float,5,{new}\nA,float,4,{old}\n", at=ns(2026, 1, 9, 10)) == []
    assert files.told(f"A,float,6,{new}\nA,float,4,{old}\n", at=ns(2026, 1, 9, 11)) == [("reference", "A", "float", 6.0)]  # fmt: skip


def test_a_split_counts_whenever_it_is_learnt(files: Files) -> None:
    late, early = ns(2026, 1, 9), ns(2026, 1, 7)
    files.told(f"A,split,0.5,{late}\n")
    again = files.told(f"A,split,0.5,{late}\nA,split,0.1,{early}\n", at=ns(2026, 1, 9, 10))
    assert again == [("reference", "A", "split", 0.1)]


def test_what_is_not_due_waits_and_what_was_taken_back_is_never_told(files: Files) -> None:
    tomorrow = ns(2026, 1, 10)
    assert files.told(f"A,float,5,{tomorrow}\nB,float,6,{tomorrow}\n") == []
    assert files.told(f"A,float,5,{tomorrow}\n", at=ns(2026, 1, 9, 10)) == []
    assert files.told(f"A,float,5,{tomorrow}\n", at=tomorrow) == [("reference", "A", "float", 5.0)]


def test_a_rename_that_is_learnt_late_gives_the_new_symbol_its_past(files: Files) -> None:
    files.told("Z,float,1,0\n", DAYS)
    day = ns(2026, 1, 9)
    told = files.told(f"Z,float,1,0\nNEW,rename:A,1,{day}\n", DAYS, at=ns(2026, 1, 9, 10))
    assert told == [
        ("reference", "A", "ended", 1.0),
        ("daily", "NEW", "close", 7.0),
        ("daily", "NEW", "close", 8.0),
    ]


def test_without_a_memory_nothing_is_told_anew() -> None:
    with pytest.raises(RuntimeError, match="is_renewed"):
        Beside([]).news([])


# -- kept new


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ((2026, 1, 9, 8, 44), (2026, 1, 9, 8, 45)),
        ((2026, 1, 9, 8, 45), (2026, 1, 10, 8, 45)),
        ((2026, 3, 7, 12, 0), (2026, 3, 8, 7, 45)),  # clocks go forward that night
        ((2026, 10, 31, 12, 0), (2026, 11, 1, 8, 45)),  # and back
    ],
)
def test_a_refresh_is_due_when_clocks_in_new_york_say_so(
    now: tuple[int, ...], then: tuple[int, ...]
) -> None:
    assert next_refresh_ns(ns(*now), "03:45") == ns(*then)


async def kept(knowledge: Knowledge, *times: int, until: str) -> list[Any]:
    """What is told beside clock events, the last of them again and again until a name is told."""
    found: list[Any] = []
    keeping = asyncio.create_task(knowledge.keep())
    try:
        async with asyncio.timeout(20):
            for at in times:
                found += beside(knowledge, at)
            while until not in [one[2] for one in found]:
                await asyncio.sleep(0.02)
                found += beside(knowledge, times[-1])
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
    return found


def beside(knowledge: Knowledge, at: int) -> list[Any]:
    batches = list(knowledge.around(clock_batch(np.array([at]))))
    return [one for batch in batches if batch.index is not None for one in of_batch(batch)]


async def test_a_vendor_is_asked_at_the_start_and_the_feed_does_not_wait(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    soon = datetime.now(UTC).date() + timedelta(3)
    massive = Massive()
    massive.earnings = [str(soon)]
    async with answering(massive) as (rest, address):
        knowledge = Knowledge(settings, reference=[f"massive?symbols=A&rest={address}"])
        assert beside(knowledge, ns(2026, 1, 9, 12)) == []
        told = await kept(knowledge, ns(2026, 1, 9, 12), until="earnings_ns")
        assert ("reference", "A", "earnings_ns", float(ns(soon.year, soon.month, soon.day))) in told
        asked = len(rest.asked)
        again = Knowledge(settings, reference=[f"massive?symbols=A&rest={address}"])
        assert sorted(await kept(again, ns(2026, 1, 9, 12), until="earnings_ns")) == sorted(told)
        assert len(rest.asked) == asked  # it was just now


async def test_what_a_vendor_could_not_tell_is_asked_again_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.knowledge.RETRY_S", 0.05)
    massive = Massive()
    massive.status = 500
    async with answering(massive) as (rest, address):
        knowledge = Knowledge(
            Settings(data_dir=str(tmp_path)), reference=[f"massive?symbols=A&rest={address}"]
        )
        await kept(knowledge, ns(2026, 1, 9, 12), until="close")
        asked = len(rest.asked)
        telling = asyncio.create_task(kept(knowledge, ns(2026, 1, 10, 12), until="earnings_ns"))
        await asyncio.sleep(0.5)
        massive.status = 200
        assert [one[2] for one in await telling] == ["earnings_ns"]
    assert {path for path, _ in rest.asked[asked:]} <= {
        "/benzinga/v1/earnings",
        "/v1/marketstatus/upcoming",
    }


async def test_files_that_were_written_anew_are_told_before_the_day_starts(tmp_path: Path) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("symbol,name,value\nA,float,5\n")
    knowledge = Knowledge(Settings(data_dir=str(tmp_path)), reference=[str(facts)])
    first = await kept(knowledge, ns(2026, 1, 8, 20), until="float")
    assert first == [("reference", "A", "float", 5.0)]
    facts.write_text("symbol,name,value\nA,float,5\nA,marketcap,9\n")
    assert beside(knowledge, ns(2026, 1, 9, 8, 44)) == []
    told = await kept(knowledge, ns(2026, 1, 9, 8, 45), until="marketcap")
    assert told == [("reference", "A", "marketcap", 9.0)]


async def test_a_database_that_is_away_is_asked_again_until_it_is_there(
    tmp_path: Path, postgres: str, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.knowledge.RETRY_S", 0.05)
    url = await database_in(postgres, template)
    store = Store(url)
    await store.execute("INSERT INTO fundamentals VALUES ('A', 'float', '2026-01-05', 7)")
    await store.close()
    knowledge = Knowledge(Settings(data_dir=str(tmp_path)), reference=["sql"])
    telling = asyncio.create_task(kept(knowledge, ns(2026, 1, 9, 12), until="float"))
    await asyncio.sleep(0.2)
    assert not telling.done()
    (tmp_path / "postgres.url").write_text(url)
    assert await telling == [("reference", "A", "float", 7.0)]


def test_a_source_that_is_none_ends_ingest_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="expected a file, a folder, sql, or alpaca"):
        Knowledge(Settings(data_dir=str(tmp_path)), reference=["nowhere.csv"])


# -- the calendar


@pytest.mark.parametrize(
    ("source", "path", "usual", "unusual"),
    [
        (
            "alpaca",
            "/v2/calendar",
            [
                {"date": "2026-11-25", "open": "09:30", "close": "16:00"},
                {"date": "2026-11-27", "open": "09:30", "close": "13:00"},
            ],
            [{"date": "2026-11-25", "open": "09:30", "close": "16:00"}],
        ),
        (
            "massive",
            "/v1/marketstatus/upcoming",
            [
                {"date": "2026-11-26", "exchange": "NYSE", "status": "closed", "name": "Thanksgiving"},
                {"date": "2026-11-27", "exchange": "NYSE", "status": "early-close", "close": "2026-11-27T18:00:00.000Z"},
                {"date": "2026-11-25", "exchange": "OTC", "status": "closed"},
            ],
            [
                {"date": "2026-11-26", "exchange": "NYSE", "status": "closed"},
                {"date": "2026-11-27", "exchange": "NYSE", "status": "closed"},
            ],
        ),
    ],
)  # fmt: skip
async def test_days_of_trading_that_differ_from_ours_are_told(
    source: str, path: str, usual: Any, unusual: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_KEY_ID", "a key")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "the secret")
    monkeypatch.setattr("runtime.fetching.CALENDAR_DAYS", 3)
    told = usual

    async def differences(**settings: Any) -> list[str]:
        async with answering(lambda asked, _: (200 if asked == path else 404, told)) as (
            _,
            address,
        ):
            trading = f"&trading={address}" if source == "alpaca" else ""
            vendor, _symbols = open_vendor(f"{source}?rest={address}{trading}")
            today = date(2026, 11, 25)
            return await asyncio.to_thread(
                calendar_differences, vendor, Settings(**settings), today
            )

    assert await differences() == []
    told = unusual
    said = f"2026-11-27 is no day of trading for {source}, here it closes at 13:00; add it to `closures`"
    found = await differences()
    assert len(found) == 1
    assert found[0].startswith(said)
    assert await differences(functions={"scanner": {"closures": "2026-11-27"}}) == []


# -- by hand


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reference", "fetch", *arguments])


async def test_the_command_fetches_into_a_folder_and_says_what_came(tmp_path: Path) -> None:
    folder = tmp_path / "known"
    async with answering(Massive()) as (_, address):
        source = f"massive?symbols=A&rest={address}"
        words = (
            source,
            "--into",
            str(folder),
            "--table",
            "earnings",
            "--since",
            "2026-01-01",
            "--json",
        )
        found = await asyncio.to_thread(ran, *words)
        assert found.exit_code == 0, found.output
        assert json.loads(found.output) == [
            {"table": "earnings", "rows": 1, "left_out": 0, "problem": ""}
        ]
        assert (folder / "earnings.parquet").exists()
        refused = await asyncio.to_thread(ran, source, "--into", str(folder), "--table", "splits")
        assert refused.exit_code == 1
        assert "not in the plan" in refused.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody", "--into", "x"), "expected one of alpaca"),
        (("massive", "--into", "x", "--table", "dividends"), "it has symbols, splits"),
        (("massive", "--into", "x", "--since", "soon"), "Invalid isoformat"),
    ],
)
def test_the_command_says_what_it_expects(words: tuple[str, ...], said: str) -> None:
    found = ran(*words)
    assert found.exit_code == 2
    assert said in found.output
