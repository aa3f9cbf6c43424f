"""What a backtest is given: rules and toplists as one control body, and events of a range from files or the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backtest_moments import of_share
from runtime.frames import Array, Frame
from runtime.loader import Hosted, Plan
from runtime.providers import Batch, Provider, frame_of
from runtime.providers.bars import BarFeed, Bars, bars_of
from runtime.providers.beside import Informed
from runtime.providers.file import FileProvider
from runtime.providers.history import DAY_KNOWN_NS, by_time, known_in_time
from runtime.rule_answers import SUBJECT
from runtime.store import Store
from runtime.subjects import partition_of
from runtime.tables import read_bars

LISTS = ("enters", "leaves", "in")  # forms of a rule that name a toplist
SECOND_NS = 1_000_000_000
HOUR = timedelta(hours=1)
SHORT = timedelta(days=60)  # a query for every hour of it, most of the empty ones answered at once
DAYS_BEFORE = (
    400  # calendar days of daily bars: a year of trading days and what a year's metrics need
)
TOLD_EVERY = 200_000  # events between two words of progress
MOST_NS = 92 * 10**17

MINUTES = """
SELECT (extract(epoch FROM timestamp) * 1000000000)::bigint AS ts_ns, array_agg(symbol) AS symbol,
    array_agg(open) AS open, array_agg(high) AS high, array_agg(low) AS low, array_agg(close) AS close,
    array_agg(volume) AS volume, array_agg(vwap) AS vwap, array_agg(count) AS count
FROM bars_1m WHERE timestamp >= $1 AND timestamp < $2 AND ($3::text[] IS NULL OR symbol = ANY($3))
GROUP BY timestamp ORDER BY timestamp
"""
DAYS = """
SELECT day, symbol, open, high, low, close, volume, factor
FROM daily_bars WHERE day >= $1 AND day < $2 AND ($3::text[] IS NULL OR symbol = ANY($3))
ORDER BY day, symbol
"""


class InputError(ValueError):
    """What was given cannot be used; the text names it and says what was expected."""


# -- rules and toplists


def control_body(plan: Plan, rules: Sequence[Path], toplists: Path | None) -> tuple[str, bool]:
    """(the control body, whether toplists have to be ranked); raises InputError.

    rules     JSON (one rule, a list of rules or {"rules": [...]}), or the text of a rule, named by its file
    toplists  JSON: a list of toplists or {"toplists": [...]}
    """
    given = [rule for path in rules for rule in _rules_of(path)]
    body: dict[str, Any] = {"rules": given}
    if toplists is not None:
        body["toplists"] = _listed(toplists, _json(toplists), "toplists")
    if not given and toplists is None:
        return "", False
    text = json.dumps(body)
    for accept in _accepting(plan, "control"):
        try:
            text = accept(text)
        except ValueError as error:
            files = ", ".join(str(path) for path in [*rules, *([toplists] if toplists else [])])
            raise InputError(f"{files}: {str(error).splitlines()[0]}") from error
    return text, toplists is not None or _names_lists(plan, body)


def _accepting(plan: Plan, subject: str) -> list[Callable[[str], str]]:
    found = (one.declaration.accepts.get(subject) for one in plan.functions)
    return [one for one in found if one is not None]


def _rules_of(path: Path) -> list[Any]:
    text = _read(path).strip()
    if text.startswith(("{", "[")):
        return _listed(path, _json(path), "rules")
    return [{"id": path.stem, "name": path.stem, "when": text}]


def _listed(path: Path, told: Any, name: str) -> list[Any]:
    listed = told.get(name, [told]) if isinstance(told, dict) else told
    if not isinstance(listed, list):
        raise InputError(f'{path}: expected a list or {{"{name}": [...]}}, found {listed!r:.60}')
    return listed


def _json(path: Path) -> Any:
    try:
        return json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _names_lists(plan: Plan, body: dict[str, Any]) -> bool:
    """Whether a rule of the body names a toplist, as the functions understand it."""
    for accept in _accepting(plan, SUBJECT):
        told = json.loads(accept(json.dumps({"rules": body["rules"]})))
        return any(_has(rule["json"], LISTS) for rule in told["rules"])
    return True


def _has(tree: Any, names: tuple[str, ...]) -> bool:
    if isinstance(tree, dict):
        return any(name in tree for name in names) or any(_has(v, names) for v in tree.values())
    return isinstance(tree, list) and any(_has(one, names) for one in tree)


def ranking(plan: Plan) -> str:
    """The function that may be told to rank no toplists; empty where there is none."""
    return next((one.name for one in plan.functions if _may_rank(one)), "")


def _may_rank(one: Hosted) -> bool:
    return one.declaration.settings.get("toplists") == "rank"


# -- events


@dataclass
class Asked:
    """What `jetscan backtest` was given to run over.

    from_ns, to_ns  event times of the range, the second not included
    symbols         only these; empty: all
    """

    trades: list[Path] = field(default_factory=list)
    bars: list[Path] = field(default_factory=list)
    daily: list[Path] = field(default_factory=list)
    reference: list[Path] = field(default_factory=list)
    minutes: list[Path] = field(default_factory=list)
    from_ns: int = 0
    to_ns: int = MOST_NS
    symbols: tuple[str, ...] = ()


@dataclass
class Told:
    """Events to be fed: how many count, of how many symbols, and the bars they were made of.

    of_share  (share, shares) -> the events of a share of the symbols, for another process
    """

    total: int
    symbols: int
    events: Iterator[tuple[str, Frame]]
    of_share: Callable[[int, int], TradesShare | BarsShare]
    bars: Bars | None = None


Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TradesShare:
    """A share of the trades of files: read anew, where they are to be run."""

    asked: Asked
    share: int
    shares: int

    def events(self) -> Iterator[tuple[str, Frame]]:
        """(base subject, frame), in order; clock events are those of all symbols."""
        return of_share(events_of(self.asked, _untold).events, self.share, self.shares)


@dataclass(frozen=True)
class BarsShare:
    """A share of bars that were read, and of what is known beside them.

    minutes  when a bar of any symbol begins
    """

    bars: Bars
    minutes: Array
    known: list[tuple[int, Batch]]
    files: list[Path]
    share: int
    shares: int

    def events(self) -> Iterator[tuple[str, Frame]]:
        """(base subject, frame), in order; clock events are those of all symbols."""
        feed = Informed(BarFeed(self.bars, minutes=self.minutes), self.known, self.files)
        told = _told(feed, "bars", len(self.bars), _untold)
        return of_share(told, self.share, self.shares)


def _untold(_: int, __: int) -> None:
    """Progress of a share: who puts shares together tells it."""


def events_of(asked: Asked, progress: Progress) -> Told:
    """The events of files. Raises InputError, ProviderError, TableError."""
    if asked.bars:
        return _of_bars(asked, bars_of([read_bars(path) for path in asked.bars]), [], progress)
    feed = FileProvider(asked.trades).within(asked.from_ns, asked.to_ns, asked.symbols)
    if not feed.trades:
        raise InputError(f"{_names(asked.trades)}: no trades {_range(asked)}")
    known = known_in_time(asked.daily, asked.reference)
    informed = Informed(feed, known, asked.minutes)
    told = _told(informed, "trades", feed.trades, progress)
    return Told(feed.trades, feed.symbols, told, partial(TradesShare, asked))


def _of_bars(asked: Asked, bars: Bars, days: list[tuple[int, Batch]], progress: Progress) -> Told:
    times = bars.columns["ts_ns"]
    keep = (times >= asked.from_ns) & (times < asked.to_ns)
    if asked.symbols:
        wanted = [k for k, one in enumerate(bars.symbols) if one in asked.symbols]
        keep &= np.isin(bars.index, wanted)
    bars = bars if keep.all() else bars.chosen(keep)
    if not len(bars):
        raise InputError(f"{_names(asked.bars) or 'bars_1m'}: no bars {_range(asked)}")
    known = days + known_in_time(asked.daily, asked.reference)
    known.sort(key=lambda one: one[0])
    feed = Informed(BarFeed(bars), known, asked.minutes)
    told = _told(feed, "bars", len(bars), progress)
    symbols = len(np.unique(bars.index))
    return Told(len(bars), symbols, told, partial(_bars_share, bars, known, asked.minutes), bars)


def _bars_share(
    bars: Bars, known: list[tuple[int, Batch]], files: list[Path], share: int, shares: int
) -> BarsShare:
    """The bars of a share, and what is known of its symbols."""
    parts = {id(table): _is_of(table, share, shares) for table in (one.symbols for _, one in known)}
    mine = [
        (when, replace(one, columns={n: v[keep] for n, v in one.columns.items()}, index=one.index[keep]))
        for when, one in known
        if one.index is not None and (keep := parts[id(one.symbols)][one.index]).any()
    ]  # fmt: skip
    own = bars.chosen(_is_of(bars.symbols, share, shares)[bars.index])
    minutes = np.unique(bars.columns["ts_ns"])
    return BarsShare(own, minutes, mine, files, share, shares)


def _is_of(symbols: list[str], share: int, shares: int) -> Array:
    return np.array([partition_of(one, shares) == share for one in symbols], dtype=bool)


def _names(paths: list[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _range(asked: Asked) -> str:
    parts = []
    if asked.from_ns:
        parts.append(f"from {np.datetime64(asked.from_ns, 'ns')}Z")
    if asked.to_ns < MOST_NS:
        parts.append(f"to {np.datetime64(asked.to_ns, 'ns')}Z")
    if asked.symbols:
        parts.append("of " + ", ".join(asked.symbols[:8]))
    return " ".join(parts) or "at all"


def _told(
    feed: Provider, counted: str, total: int, progress: Progress
) -> Iterator[tuple[str, Frame]]:
    done = said = 0
    for batch in feed.batches():
        if counted == "bars" and batch.kind in ("trades", "bars"):  # all of its symbols occur
            yield batch.base, Frame(dict(batch.columns), batch.symbols, batch.index, feed.name)
        else:
            yield batch.base, frame_of(batch, feed.name)
        done += len(batch) if batch.kind == counted else 0
        if done - said >= TOLD_EVERY:
            said = done
            progress(done, total)
    progress(total, total)


# -- what is stored


def stored_events(asked: Asked, url: str, progress: Progress) -> Told:
    """Minute bars and daily bars of the database. Raises InputError, and what the store raises."""
    bars, days = asyncio.run(_stored(asked, url))
    return _of_bars(asked, bars, days, progress)


async def _stored(asked: Asked, url: str) -> tuple[Bars, list[tuple[int, Batch]]]:
    store = Store(url, connections_max=1)
    try:
        first, last = await _span(store, asked)
        symbols = list(asked.symbols) or None
        parts = []
        while first < last:
            until = min(first + HOUR, last)
            rows = await store.fetch(MINUTES, first, until, symbols)
            parts += [_part(row) for row in rows]
            first = until
        if not parts:
            raise InputError(f"bars_1m: no bars {_range(asked)}")
        bars = bars_of(parts)
        days = await _stored_days(store, bars, symbols)
    finally:
        await store.close()
    return bars, days


async def _span(store: Store, asked: Asked) -> tuple[datetime, datetime]:
    """From when to when bars are read: what was asked for, cut to what is stored unless it is short."""
    first, last = _time(asked.from_ns), _time(asked.to_ns)
    if last - first <= SHORT:  # looking up the ends reads the whole table
        return first, last
    span = await store.fetch("SELECT min(timestamp) AS first, max(timestamp) AS last FROM bars_1m")
    if not span or span[0]["first"] is None:
        raise InputError("bars_1m: no bars are stored; `jetscan run --sinks` keeps them")
    return max(span[0]["first"], first), min(span[0]["last"] + timedelta(minutes=1), last)


def _part(row: dict[str, Any]) -> dict[str, Any]:
    names = ("open", "high", "low", "close", "volume", "vwap", "count")
    part: dict[str, Any] = {name: np.array(row[name], dtype=float) for name in names}
    ts_ns = np.full(len(row["symbol"]), int(row["ts_ns"]))
    return {"symbol": row["symbol"], "ts_ns": ts_ns, **part}


async def _stored_days(
    store: Store, bars: Bars, symbols: list[str] | None
) -> list[tuple[int, Batch]]:
    """Official days known before the last bar, each from when it is known."""
    times = bars.columns["ts_ns"]
    first, last = (_time(int(one)).date() for one in (times[0], times[-1]))
    rows = await store.fetch(DAYS, first - timedelta(days=DAYS_BEFORE), last, symbols)
    if not rows:
        return []
    place: dict[str, int] = {}
    index = np.array([place.setdefault(row["symbol"], len(place)) for row in rows])
    day_ns = np.array([_midnight_ns(row["day"]) for row in rows], dtype=np.int64)
    names = ("open", "high", "low", "close", "volume", "factor")
    columns: dict[str, Any] = {"ts_ns": day_ns}
    columns |= {name: np.array([row[name] for row in rows], dtype=float) for name in names}
    table = list(place)
    return [
        (day + DAY_KNOWN_NS, Batch("daily", {n: v[of] for n, v in columns.items()}, table, index[of]))
        for day, of in by_time(day_ns)
    ]  # fmt: skip


def _time(ts_ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts_ns // 1000)


def _midnight_ns(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400 * SECOND_NS
