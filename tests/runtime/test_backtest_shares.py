"""A backtest in one process or in several: the same files, byte for byte; and what ends a process is told."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from runtime import backtest_command
from runtime.backtest import KEPT, BacktestError
from runtime.backtest_input import Told
from runtime.backtest_moments import Event, Moment, in_order, says_to_itself, together
from runtime.backtest_shares import Work, run_shares
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.providers import ProviderError
from runtime.subjects import Subjects
from tests.conftest import ROOT
from tests.runtime.test_backtest_command import (
    BEGIN_NS,
    RULES,
    told,
    write_bars,
    write_rules,
)

SECOND_NS = 1_000_000_000
HELD = {"id": "held", "name": "Held", "cooldown": 5, "when": "price > 10 volume >= 0 held for 3s"}
FILES = ("alerts.jsonl", "outcomes.parquet", "rule_outcomes.parquet", "summary.md", "report.html")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def write_trades(path: Path) -> Path:
    """Trades of seven symbols, ten to thirteen at each time, some of which are cancelled or corrected later."""
    draw = np.random.default_rng(11)
    size = 4_000
    ts_ns = BEGIN_NS + np.sort(draw.integers(0, 400 * 2, size)) * (SECOND_NS // 2)
    later = np.where(draw.random(size) < 0.02, ts_ns + 3 * SECOND_NS, 0)
    fate = draw.random(size) < 0.5
    price = np.round(10 + draw.standard_normal(size) * 0.3, 2)
    columns = {
        "symbol": [f"S{k}" for k in draw.integers(0, 7, size)],
        "ts_ns": ts_ns,
        "price": price,
        "size": draw.integers(1, 500, size).astype(float),
        "id": np.arange(1, size + 1),
        "cancelled_ns": np.where(fate, later, 0),
        "corrected_ns": np.where(fate, 0, later),
        "corrected_price": price - 0.5,
        "corrected_size": np.full(size, 10.0),
    }
    pl.DataFrame(columns).write_parquet(path)
    return path


def files_of(tmp_path: Path, processes: int, *words: str) -> dict[str, Any]:
    """Every file of a run: pages without the line that tells how long it took, tables as rows."""
    told(tmp_path, *words, "--processes", str(processes))
    out = tmp_path / "out"
    found: dict[str, Any] = {}
    for file in sorted(out.iterdir()):
        found[file.name] = (
            pl.read_parquet(file).to_dicts().__repr__()
            if file.suffix == ".parquet"
            else file.read_bytes()
        )
        file.unlink()
    return found


def test_bars_say_the_same_bytes_in_one_two_and_three_processes(tmp_path: Path) -> None:
    bars = write_bars(tmp_path / "b.parquet", symbols=9)
    rules = write_rules(tmp_path / "r.json", [*RULES, HELD])
    words = ["--bars", str(bars), "--rules", str(rules), "--indicators"]
    days = tmp_path / "days.csv"
    days.write_text("symbol,date,open,high,low,close,volume\nS2,2026-01-02,9,11,8,10,1000\n")
    one, two, three = (files_of(tmp_path, n, *words, "--daily", str(days)) for n in (1, 2, 3))
    assert set(FILES) < set(one)
    assert one["alerts.jsonl"].count(b"\n") > 50
    assert one == two == three


def test_trades_say_the_same_bytes_in_one_two_and_three_processes(tmp_path: Path) -> None:
    trades = write_trades(tmp_path / "t.parquet")
    rules = [
        {"id": "up", "name": "Up", "cooldown": 2, "when": "price > 10.4 volume >= 0"},
        {"id": "down", "name": "Down", "cooldown": 0, "when": "price < 9.6 volume >= 0"},
        HELD,
    ]
    words = ["--trades", str(trades), "--rules", str(write_rules(tmp_path / "r.json", rules))]
    one, two, three = (files_of(tmp_path, n, *words) for n in (1, 2, 3))
    assert {*FILES, "bars.parquet", "indicators.parquet"} == set(one)
    assert b'"withdrawn"' in one["alerts.jsonl"]
    assert b'"amended"' in one["alerts.jsonl"]
    assert one == two == three


def test_alerts_of_a_moment_are_in_order_of_time_then_symbol(subjects: Subjects) -> None:
    def said(*rows: tuple[str, int, str]) -> Frame:
        names = [symbol for symbol, _, _ in rows]
        table = list(dict.fromkeys(names))
        columns = {
            "ts_ns": np.array([ts for _, ts, _ in rows]),
            "id": np.array([identity for _, _, identity in rows], dtype=object),
        }
        return Frame(columns, table, np.array([table.index(one) for one in names]), "scanner")

    frame = said(("B", 5, "a"), ("A", 7, "b"), ("B", 9, "c"), ("B", 6, "d"), ("A", 5, "e"))
    ordered = [
        "a",
        "b",
        "e",
        "c",
        "d",
    ]  # of a symbol, an earlier time after a later one stays there
    assert in_order(frame)["id"].tolist() == ordered
    shares = [
        Moment(said=[("alerts", said(("B", 5, "a"), ("B", 9, "c"), ("B", 6, "d")))]),
        Moment(said=[("alerts", said(("A", 7, "b"))), ("alerts", said(("A", 5, "e")))]),
    ]
    whole = together(shares, subjects, frozenset({"alerts"}))
    assert [base for base, _ in whole.said] == ["alerts"]
    assert whole.said[0][1]["id"].tolist() == ordered


def test_a_plan_whose_lists_come_back_to_its_rules_runs_in_one_process(subjects: Subjects) -> None:
    plan = load_plan(ROOT / "functions", subjects)
    assert says_to_itself(plan)
    unranked = load_plan(ROOT / "functions", subjects, {"scanner": {"toplists": "none"}})
    assert not says_to_itself(unranked)


def test_few_symbols_or_few_events_are_worth_one_process(tmp_path: Path) -> None:
    def asked_for(asked: int, total: int, symbols: int) -> int:
        given = Told(total, symbols, iter(()), lambda *_: None)  # type: ignore[arg-type, return-value]
        return backtest_command.processes_for(asked, given)

    cores = min(os.cpu_count() or 1, 4)
    assert asked_for(0, 4_000_000, 10_000) == cores
    assert asked_for(0, 4_000_000, 300) == 1
    assert asked_for(0, 10_000, 10_000) == 1
    assert asked_for(3, 10, 10_000) == 3
    assert asked_for(3, 10, 2) == 2


# -- what ends a process


@dataclass(frozen=True)
class Broken:
    """A source of which the second process gets no more than a little."""

    share: int
    how: str

    def events(self) -> Iterator[Event]:
        for second in range(100):
            if self.share == 1 and second == 60 and self._ends():
                return
            yield "ticks.clock", Frame({"ts_ns": np.array([BEGIN_NS + second * SECOND_NS])})

    def _ends(self) -> bool:
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raise":
            raise ProviderError("t.parquet: gone")
        return self.how == "short"


def broken(subjects: Subjects, how: str) -> None:
    plan_of = partial(load_plan, ROOT / "functions", subjects)
    work = Work(partial(plan_of, {"scanner": {"toplists": "none"}}), subjects, "")
    run_shares(work, work.plan(), lambda share: Broken(share, how), 2, KEPT, lambda _: None)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("kill", "process 2 of 2 ended with signal 9; the machine may be out of memory"),
        ("raise", "process 2 of 2: t.parquet: gone"),
        ("short", "process 2 of 2 saw fewer clock events than the others"),
    ],
)
def test_a_process_that_dies_or_fails_is_an_error_that_says_why(
    subjects: Subjects, how: str, says: str
) -> None:
    with pytest.raises(BacktestError, match=says):
        broken(subjects, how)
    assert not multiprocessing.active_children()


def test_an_interrupt_ends_every_process(subjects: Subjects) -> None:
    plan_of = partial(load_plan, ROOT / "functions", subjects)
    work = Work(partial(plan_of, {"scanner": {"toplists": "none"}}), subjects, "")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_shares(work, work.plan(), lambda k: Broken(k, "no"), 2, KEPT, interrupted)
    assert not multiprocessing.active_children()
