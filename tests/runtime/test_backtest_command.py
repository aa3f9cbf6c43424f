"""`jetscan backtest`: trades, bars or what is stored; ranges, toplists, reports, and errors in one line."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from runtime.backtest import fed_with_bars, run_backtest
from runtime.backtest_input import Asked, stored_events
from runtime.cli import main
from runtime.frames import Frame
from runtime.loader import load_plan
from runtime.providers import frame_of
from runtime.providers.bars import BarFeed, bars_of
from runtime.store import Store
from runtime.subjects import Subjects
from runtime.tables import read_bars
from tests.conftest import ROOT

MINUTE_NS = 60_000_000_000
BEGIN_NS = 1_767_623_400_000_000_000  # 2026-01-05 14:30 UTC
RULES = [
    {"id": "up", "name": "Up <b>|&", "cooldown": 60, "when": "change_pct_1m > 0.2"},
    {"id": "cross", "name": "Cross", "cooldown": 60, "when": "price crosses above vwap"},
    {"id": "busy", "name": "Busy", "cooldown": 120, "when": "volume_1m > 500 and change_pct_5m > 0.1"},
]  # fmt: skip
NAMES = ("open", "high", "low", "close", "volume", "vwap")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def write_bars(path: Path, minutes: int = 90, symbols: int = 6) -> Path:
    """Bars of a made-up market: some symbols skip minutes, one has no VWAP."""
    draw = np.random.default_rng(5)
    rows: dict[str, list[Any]] = {name: [] for name in ("symbol", "ts_ns", *NAMES, "count")}
    price = draw.uniform(5, 80, symbols).round(2)
    for minute in range(minutes):
        for k in range(symbols):
            if k and draw.random() < 0.2 * k / symbols:
                continue
            close = round(float(price[k] * np.exp(draw.standard_normal() * 0.004)), 2)
            top, bottom = max(price[k], close), min(price[k], close)
            values = [price[k], round(top * 1.001, 2), round(bottom * 0.999, 2), close]
            volume = float(draw.integers(100, 900))
            vwap = None if k == 1 else round((price[k] + close) / 2, 3)
            ts_ns = BEGIN_NS + minute * MINUTE_NS
            row = [f"S{k}", ts_ns, *values, volume, vwap, int(draw.integers(1, 9))]
            for name, value in zip(rows, row, strict=True):
                rows[name].append(value)
            price[k] = close
    pl.DataFrame(rows).write_parquet(path)
    return path


def write_rules(path: Path, rules: Any = RULES) -> Path:
    path.write_text(json.dumps(rules), encoding="utf-8")
    return path


def backtest(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["backtest", "--out", str(tmp_path / "out"), *words])


def told(tmp_path: Path, *words: str) -> dict[str, Any]:
    answer = backtest(tmp_path, *words, "--json")
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def alerts_in(tmp_path: Path) -> list[dict[str, Any]]:
    lines = (tmp_path / "out" / "alerts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_fed_bars_say_the_alerts_that_their_prints_say(tmp_path: Path, subjects: Subjects) -> None:
    """The slow twin: the same prints through the whole chain, which makes the bars of them itself."""
    plan = load_plan(ROOT / "functions", subjects)
    bars = bars_of([read_bars(write_bars(tmp_path / "bars.parquet"))])
    body = json.dumps({"rules": RULES})

    def said(is_closing: bool) -> Any:
        feed = BarFeed(bars, is_closing)
        events = ((one.base, frame_of(one, "bars")) for one in feed.batches())
        return run_backtest(fed_with_bars(plan) if is_closing else plan, subjects, events, body)

    fed, made = said(True), said(False)
    assert {one["rule_id"] for one in fed.alerts()} == {"up", "cross", "busy"}
    assert len(fed.alerts()) > 30
    for one, other in zip(fed.alerts(), made.alerts(), strict=True):
        for name in ("id", "rule_id", "symbol", "ts_ns", "price", "seq"):
            assert one[name] == other[name], name
        values = one["metadata"]["metrics"], other["metadata"]["metrics"]
        assert values[0] == pytest.approx(values[1], rel=1e-9)


def test_every_alert_counts_however_many_clock_events_a_frame_has(subjects: Subjects) -> None:
    plan = load_plan(ROOT / "functions", subjects)
    rule = {"id": "held", "name": "Held", "when": "price > 5 held for 3s"}
    seconds = BEGIN_NS + np.arange(1, 9) * 1_000_000_000

    def said(clocks: list[Any]) -> list[tuple[str, int]]:
        columns = {"ts_ns": seconds[:2] + 1, "price": np.full(2, 10.0), "size": np.full(2, 1.0)}
        prints = ("ticks.trades", Frame(columns, ["A", "B"], np.arange(2)))
        events = [prints, *(("ticks.clock", Frame({"ts_ns": one})) for one in clocks)]
        result = run_backtest(plan, subjects, events, json.dumps({"rules": [rule]}))
        return [(one["symbol"], one["seq"]) for one in result.alerts()]

    assert said([seconds]) == said(np.split(seconds, len(seconds))) == [("A", 1), ("B", 2)]


def test_lists_follow_every_clock_event_however_many_a_frame_has(subjects: Subjects) -> None:
    plan = load_plan(ROOT / "functions", subjects)
    rule = {"id": "best", "name": "Best", "when": "in volume_1m"}
    seconds = BEGIN_NS + np.arange(1, 9) * 1_000_000_000

    def said(clocks: list[Any]) -> list[tuple[str, int]]:
        columns = {"ts_ns": seconds[:2] + 1, "price": np.full(2, 10.0), "size": np.full(2, 1.0)}
        prints = ("ticks.trades", Frame(columns, ["A", "B"], np.arange(2)))
        events = [prints, *(("ticks.clock", Frame({"ts_ns": one})) for one in clocks)]
        result = run_backtest(plan, subjects, events, json.dumps({"rules": [rule]}))
        return [(one["symbol"], one["ts_ns"]) for one in result.alerts()]

    second = int(seconds[1])
    assert (
        said([seconds]) == said(np.split(seconds, len(seconds))) == [("A", second), ("B", second)]
    )


def test_a_backtest_of_bars_writes_alerts_outcomes_and_both_pages(tmp_path: Path) -> None:
    bars, rules = write_bars(tmp_path / "b.parquet"), write_rules(tmp_path / "r.json")
    found = told(tmp_path, "--bars", str(bars), "--rules", str(rules))
    files = {one.name for one in (tmp_path / "out").iterdir()}
    assert files == {"alerts.jsonl", "outcomes.parquet", "rule_outcomes.parquet", "summary.md", "report.html"}  # fmt: skip
    alerts = alerts_in(tmp_path)
    assert found["bars"] == pl.read_parquet(bars).height
    assert found["alerts.jsonl"] == len(alerts) > 10
    outcomes = pl.read_parquet(tmp_path / "out" / "outcomes.parquet")
    assert outcomes["id"].to_list() == [one["id"] for one in alerts]
    assert set(outcomes["session"]) == {"market"}
    assert outcomes["return_15m_pct"].is_finite().any()
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert f"- alerts fired: {len(alerts):,}\n" in summary
    assert "Up \\<b\\>\\|&" in summary
    assert "- from: " in summary


class Page(HTMLParser):
    """The tags of a page, and every address in it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for name, v in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_needs_nothing_from_elsewhere_and_shows_names_as_text(tmp_path: Path) -> None:
    bars, rules = write_bars(tmp_path / "b.parquet"), write_rules(tmp_path / "r.json")
    told(tmp_path, "--bars", str(bars), "--rules", str(rules), "--report", "html")
    assert not (tmp_path / "out" / "summary.md").exists()
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.tags.count("svg") == 3
    assert page.tags.count("table") == 5
    assert not page.addresses
    assert {"b", "script", "link", "img"}.isdisjoint(page.tags)
    assert "Up &lt;b&gt;|&amp;" in text
    assert "http" not in text


def test_a_range_and_symbols_choose_the_bars_that_are_fed(tmp_path: Path) -> None:
    bars, rules = write_bars(tmp_path / "b.parquet"), write_rules(tmp_path / "r.json")
    words = ["--bars", str(bars), "--rules", str(rules), "--symbols", "S0,S2"]
    found = told(tmp_path, *words, "--from", "2026-01-05T14:40:00Z", "--to", "2026-01-05T15:10:00Z")
    table = pl.read_parquet(bars).filter(pl.col("symbol").is_in(["S0", "S2"]))
    minute = (table["ts_ns"] - BEGIN_NS) // MINUTE_NS
    assert found["bars"] == ((minute >= 10) & (minute < 40)).sum()
    assert {one["symbol"] for one in alerts_in(tmp_path)} == {"S0", "S2"}
    day = told(tmp_path, *words, "--from", "2026-01-05", "--to", "2026-01-05")
    assert day["bars"] == table.height
    answer = backtest(tmp_path, *words, "--from", "2026-01-06")
    assert answer.exit_code == 1
    assert "no bars from 2026-01-06T05:00:00" in answer.stderr
    assert answer.stderr.count("\n") == 1


def test_trades_are_cut_to_a_range(tmp_path: Path) -> None:
    trades = tmp_path / "t.csv"
    rows = [f"S{k % 3},{BEGIN_NS + k * 1_000_000_000},{10 + k % 7},100" for k in range(300)]
    trades.write_text("\n".join(["symbol,ts_ns,price,size", *rows]), encoding="utf-8")
    words = ["--trades", str(trades), "--from", "2026-01-05T14:31:00Z", "--to", "2026-01-05T14:33:00Z"]  # fmt: skip
    assert told(tmp_path, *words)["trades"] == 120
    bars = pl.read_parquet(tmp_path / "out" / "bars.parquet")
    assert sorted(set(bars["ts_ns"])) == [BEGIN_NS + MINUTE_NS, BEGIN_NS + 2 * MINUTE_NS]
    assert told(tmp_path, *words, "--symbols", "S1")["trades"] == 40


def test_rank_changes_of_asked_toplists_are_written(tmp_path: Path) -> None:
    lists = [{"id": "mine", "name": "Mine", "metric": "change_pct", "time_window": "1m"}]
    bars, file = write_bars(tmp_path / "b.parquet"), tmp_path / "lists.json"
    file.write_text(json.dumps(lists), encoding="utf-8")
    told(tmp_path, "--bars", str(bars), "--toplists", str(file))
    changes = pl.read_parquet(tmp_path / "out" / "toplists.parquet")
    mine = changes.filter(pl.col("list") == "mine")
    assert mine.height
    assert set(mine["symbol"]) <= {f"S{k}" for k in range(6)}


def test_a_rule_that_names_a_toplist_has_it_ranked(tmp_path: Path) -> None:
    bars, rule = write_bars(tmp_path / "b.parquet"), tmp_path / "leader.rule"
    rule.write_text("in gainers_1m and change_pct_1m > 0", encoding="utf-8")
    told(tmp_path, "--bars", str(bars), "--rules", str(rule))
    assert {one["rule_id"] for one in alerts_in(tmp_path)} == {"leader"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "expected one of --trades FILE, --bars FILE and --stored"),
        (["--bars", "BARS", "--stored"], "expected one of"),
        (["--bars", "BARS", "--from", "noon"], "--from noon: expected nanoseconds or an ISO time"),
        (["--bars", "BARS", "--from", "2026-01-06", "--to", "2026-01-05"], "ends after it begins"),
        (["--bars", "BARS", "--symbols", "NONE"], "no bars of NONE"),
        (["--bars", "BARS", "--rules", "BAD"], "rule bad"),
        (["--bars", "BAD"], "expected a name that ends in"),
        (["--bars", "BARS", "--toplists", "BAD"], "toplist"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    bars = write_bars(tmp_path / "b.parquet", minutes=3)
    bad = write_rules(tmp_path / "bad.json", [{"id": "bad", "when": "nothing at all"}])
    named = {"BARS": str(bars), "BAD": str(bad)}
    answer = backtest(tmp_path, *(named.get(word, word) for word in words))
    assert answer.exit_code in (1, 2)
    assert answer.stderr.count("\n") == 1, answer.stderr
    assert says in answer.stderr


async def test_stored_bars_are_fed_as_those_of_a_file(
    tmp_path: Path, store: Store, subjects: Subjects
) -> None:
    read = read_bars(write_bars(tmp_path / "b.parquet"))
    columns = {name: [None if v != v else v for v in read[name].tolist()] for name in NAMES}
    stamps = np.array(read["ts_ns"]) // 1000
    at = [pl.Series([int(one)]).cast(pl.Datetime("us", "UTC"))[0] for one in stamps]
    count = [int(one) for one in read["count"]]
    rows = {"symbol": read["symbol"], "timestamp": at, **columns, "count": count}
    await store.fetch("SELECT make_room('bars_1m', $1)", [at[0]])
    assert not await store.upsert("bars_1m", rows, ("symbol", "timestamp"))
    day = at[0].date()
    for ago in (1, 2):
        await store.execute(
            "INSERT INTO daily_bars VALUES ('S0', $1::date - $2::int, 9, 11, 8, 10, 1000, NULL)", day, ago
        )  # fmt: skip
    fed = await asyncio.to_thread(stored_events, Asked(), store._url, lambda *_: None)
    expected = bars_of([read])
    assert fed.bars is not None
    assert fed.total == len(expected)
    names = np.array(fed.bars.symbols, dtype=object)[fed.bars.index]
    theirs = np.array(expected.symbols, dtype=object)[expected.index]
    order, other = (np.lexsort((one.astype(str), bars.columns["ts_ns"])) for one, bars in ((names, fed.bars), (theirs, expected)))  # fmt: skip
    for name, values in expected.columns.items():
        assert np.array_equal(fed.bars.columns[name][order], values[other]), name
    events: list[tuple[str, Frame]] = list(fed.events)
    days = [frame for base, frame in events if base == "ticks.daily"]
    assert len(days) == 2
    assert all(frame["close"].tolist() == [10.0] for frame in days)
    assert np.isnan(days[0]["factor"]).all()


def test_the_examples_of_the_guide_run(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "backtest.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```\w+ (rule|toplists)\n(.*?)```", guide, re.DOTALL))
    bars = write_bars(tmp_path / "b.parquet")
    (tmp_path / "hot.rule").write_text(blocks["rule"], encoding="utf-8")
    (tmp_path / "lists.json").write_text(blocks["toplists"], encoding="utf-8")
    words = ["--rules", str(tmp_path / "hot.rule"), "--toplists", str(tmp_path / "lists.json")]
    told(tmp_path, "--bars", str(bars), *words)
    assert {one["rule_id"] for one in alerts_in(tmp_path)} == {"hot"}
    lists = pl.read_parquet(tmp_path / "out" / "toplists.parquet")["list"]
    assert "movers" in set(lists)
