"""Alpaca's market data messages (v2 stocks, v1beta3 crypto, news) as columns. Pure.

Source: Alpaca, real-time stock data and streaming market data; conditions see `runtime.providers.conditions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from runtime import telemetry
from runtime.frames import Array, texts
from runtime.providers import Batch
from runtime.providers.conditions import flags_of
from runtime.providers.messages import (
    Columns,
    Control,
    Parsed,
    Reader,
    SymbolTable,
    check_prices,
    check_sizes,
    checked,
    floats,
    times_of_stamps,
    times_of_texts,
    whole,
)

# Kinds that are known and carry nothing that is used: imbalances, crypto order books.
IGNORED = ("i", "o")
BANDS_ONLY = 2
QUOTE_BITS = {"N": 1, "L": 2, "M": 4, "1": 8, "2": 8, "3": 8}
TRADES, QUOTES = "t", "q"
TRADE_FIELDS = attrgetter("S", "t", "p", "s", "i", "c", "z")


class _Message(msgspec.Struct, tag_field="T", gc=False):
    pass


class Trade(_Message, tag="t"):
    S: str
    p: float
    s: float
    t: Any
    i: int = 0
    x: str = ""
    c: list[str] | None = None
    z: str = ""
    tks: str = ""
    r: Any = None


class Quote(_Message, tag="q"):
    S: str
    ap: float
    bp: float
    t: Any
    asked: float = msgspec.field(name="as", default=0.0)
    bs: float = 0.0
    ax: str = ""
    bx: str = ""
    c: list[str] | None = None
    z: str = ""
    r: Any = None


class _Bar(_Message):
    S: str
    o: float
    h: float
    l: float  # noqa: E741 -- the vendor's name
    c: float
    v: float
    t: Any
    n: int = 0
    vw: float | None = None
    r: Any = None


class Bar(_Bar, tag="b"):
    pass


class UpdatedBar(_Bar, tag="u"):
    pass


class DailyBar(_Bar, tag="d"):
    pass


class Status(_Message, tag="s"):
    S: str
    sc: str
    t: Any
    sm: str = ""
    rc: str = ""
    rm: str = ""
    z: str = ""
    r: Any = None


class Luld(_Message, tag="l"):
    S: str
    u: float
    d: float
    t: Any
    i: str = ""
    z: str = ""
    r: Any = None


class Correction(_Message, tag="c"):
    S: str
    oi: int
    op: float
    os: float
    ci: int
    cp: float
    cs: float
    t: Any
    x: str = ""
    oc: list[str] | None = None
    cc: list[str] | None = None
    z: str = ""
    r: Any = None


class Cancel(_Message, tag="x"):
    S: str
    i: int
    p: float
    s: float
    t: Any
    a: str = ""
    x: str = ""
    z: str = ""
    r: Any = None


class News(_Message, tag="n"):
    id: Any
    symbols: list[str]
    created_at: Any
    headline: str = ""
    summary: str = ""
    author: str = ""
    updated_at: Any = None
    url: str | None = None
    content: str = ""
    source: str = ""


class Success(_Message, tag="success"):
    msg: str = ""


class Error(_Message, tag="error"):
    code: int = 0
    msg: str = ""


class Subscription(_Message, tag="subscription"):
    trades: list[str] | None = None
    quotes: list[str] | None = None
    bars: list[str] | None = None
    updated: list[str] | None = msgspec.field(name="updatedBars", default=None)
    daily: list[str] | None = msgspec.field(name="dailyBars", default=None)
    statuses: list[str] | None = None
    lulds: list[str] | None = None
    corrections: list[str] | None = None
    cancels: list[str] | None = msgspec.field(name="cancelErrors", default=None)
    imbalances: list[str] | None = None
    orderbooks: list[str] | None = None
    news: list[str] | None = None


KINDS = (
    *(Trade, Quote, Bar, UpdatedBar, DailyBar, Status, Luld, Correction, Cancel, News),
    *(Success, Error, Subscription),
)
CODES = {"connected": "connected", "authenticated": "authenticated"}


class AlpacaParser:
    """Frames of one connection, one after the other."""

    def __init__(self, codec: str = "json", odd_lots: str = "volume") -> None:
        self.table = SymbolTable()
        self._reader = Reader(KINDS, "T", IGNORED, codec)
        self._times = times_of_stamps if codec == "msgpack" else times_of_texts
        self._odd_lots = odd_lots

    def parse(self, data: bytes, received_ns: int = 0) -> Parsed:
        """What a frame holds.

        received_ns  when it was received; with it, a time more than a day away is refused

        Within a stretch of trades and quotes, quotes come first: a trade meets the newest of its frame.
        """
        return self.parse_joined((data,), received_ns)

    def parse_joined(self, frames: Sequence[bytes], received_ns: int = 0) -> Parsed:
        """What several frames hold that came one after the other; those of nothing but trades cost as one."""
        parsed = Parsed()
        trades: list[Any] = []
        for data in frames:
            records = self._reader.read(data, parsed)
            if all(issubclass(kind, Trade) for kind in set(map(type, records))):
                trades += records
                continue
            self._add_trades(trades, parsed, received_ns)
            trades = []
            self._add_mixed(records, parsed, received_ns)
        self._add_trades(trades, parsed, received_ns)
        return parsed

    def _add_mixed(self, records: list[Any], parsed: Parsed, received_ns: int) -> None:
        for rank, run in groupby(records, _rank):
            messages = list(run)
            if rank is None:
                self._add_ticks(messages, parsed, received_ns)
            else:
                self._add_rare(messages, parsed, received_ns)

    def add_trades(self, trades: list[Trade], parsed: Parsed) -> None:
        """Trades that came in another way, as a batch."""
        self._add_trades(trades, parsed, 0)

    def _add_trades(self, trades: list[Any], parsed: Parsed, received_ns: int) -> None:
        if trades:
            self._keep(self._trades(trades, parsed, received_ns), parsed)

    def _add_ticks(self, messages: list[Any], parsed: Parsed, received_ns: int) -> None:
        trades = [one for one in messages if type(one).__struct_config__.tag == TRADES]
        quotes = [one for one in messages if type(one).__struct_config__.tag == QUOTES]
        if quotes:
            self._keep(self._quotes(quotes, parsed, received_ns), parsed)
        self._add_trades(trades, parsed, received_ns)

    def _keep(self, events: Columns, parsed: Parsed) -> None:
        batch = events.batch(self.table)
        if batch is not None:
            parsed.batches.append(batch)

    def _times_of(self, messages: Sequence[Any]) -> Array:
        return self._times([one.t for one in messages])

    def _places_of(self, messages: Sequence[Any]) -> Array:
        return self.table.places([one.S for one in messages])

    def _trades(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        symbols, times, prices, sizes, ids, conditions, tapes = zip(
            *map(TRADE_FIELDS, messages), strict=True
        )
        events = checked(
            "trades",
            self.table.places(symbols),
            {
                "ts_ns": self._times(times),
                "price": floats(prices),
                "size": floats(sizes),
                "id": whole(ids),
            },
            parsed,
            received_ns,
        )
        if any(conditions):
            told = ["".join(one) if one else "" for one in conditions]
            events.columns["upd"] = self._updates(told, list(tapes), events.columns["ts_ns"])
        return events

    def _updates(self, conditions: list[str], tapes: list[str], ts_ns: Array) -> Array:
        flags, unknown = flags_of(conditions, tapes, ts_ns, self._odd_lots)
        for code, prints in unknown.items():
            telemetry.UNKNOWN_CONDITIONS.labels(code).inc(prints)
        return flags

    def _quotes(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        bits = [_quote_bits(one.c) for one in messages]
        return checked(
            "quotes",
            self._places_of(messages),
            {
                "ts_ns": self._times_of(messages),
                "bid": floats(one.bp for one in messages),
                "ask": floats(one.ap for one in messages),
                "bid_size": floats(one.bs for one in messages),
                "ask_size": floats(one.asked for one in messages),
                "condition": np.array(bits, dtype=np.uint8),
                "lots": np.array([one.z in ("A", "B", "C") for one in messages], dtype=np.uint8),
            },
            parsed,
            received_ns,
        )

    # -- what comes seldom

    def _add_rare(self, messages: list[Any], parsed: Parsed, received_ns: int) -> None:
        makers: dict[str, Callable[[list[Any], Parsed, int], Columns]] = {
            "b": self._bars,
            "u": self._bars,
            "d": self._bars,
            "s": self._statuses,
            "l": self._bands,
            "c": self._corrections,
            "x": self._cancels,
        }
        tag = type(messages[0]).__struct_config__.tag
        if tag in makers:
            self._keep(makers[tag](messages, parsed, received_ns), parsed)
        elif tag == "n":
            parsed.batches += self._news(messages, parsed, received_ns)
        else:
            parsed.controls += [_control(one) for one in messages]

    def _bars(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        tag = type(messages[0]).__struct_config__.tag
        return checked(
            {"b": "bars", "u": "bars", "d": "days"}[tag],
            self._places_of(messages),
            {
                "ts_ns": self._times_of(messages),
                **{
                    name: floats(getattr(one, field) for one in messages)
                    for name, field in zip(
                        ("open", "high", "low", "close", "volume", "vwap"),
                        "o h l c v vw".split(),
                        strict=True,
                    )
                },
                "count": whole(one.n for one in messages),
                "revision": np.full(len(messages), int(tag == "u"), dtype=np.int32),
            },
            parsed,
            received_ns,
        )

    def _statuses(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        return checked(
            "status",
            self._places_of(messages),
            {
                "ts_ns": self._times_of(messages),
                "code": np.array(
                    [int(one.sc in ("2", "H", "P")) for one in messages], dtype=np.uint8
                ),
                "action": texts([one.sc for one in messages]),
                "reason": texts([one.rc for one in messages]),
            },
            parsed,
            received_ns,
        )

    def _bands(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        return checked(
            "status",
            self._places_of(messages),
            {
                "ts_ns": self._times_of(messages),
                "code": np.full(len(messages), BANDS_ONLY, dtype=np.uint8),
                "limit_up": floats(one.u for one in messages),
                "limit_down": floats(one.d for one in messages),
            },
            parsed,
            received_ns,
        )

    def _corrections(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        times, tapes = self._times_of(messages), [one.z for one in messages]
        before, after = (
            self._updates(["".join(getattr(one, name) or ()) for one in messages], tapes, times)
            for name in ("oc", "cc")
        )
        events = checked(
            "corrections",
            self._places_of(messages),
            {
                "ts_ns": times,
                "id": whole(one.oi for one in messages),
                "price": floats(one.op for one in messages),
                "size": floats(one.os for one in messages),
                "upd": before,
                "new_price": floats(one.cp for one in messages),
                "new_size": floats(one.cs for one in messages),
                "new_upd": after,
                "new_id": whole(one.ci for one in messages),
            },
            parsed,
            received_ns,
        )
        check_prices(events, parsed, "price", "new_price")
        check_sizes(events, parsed, "size", "new_size")
        return events

    def _cancels(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        nothing = np.zeros(len(messages))
        events = checked(
            "corrections",
            self._places_of(messages),
            {
                "ts_ns": self._times_of(messages),
                "id": whole(one.i for one in messages),
                "price": floats(one.p for one in messages),
                "size": floats(one.s for one in messages),
                "new_price": nothing + np.nan,
                "new_size": nothing,
            },
            parsed,
            received_ns,
        )
        check_prices(events, parsed, "price")
        check_sizes(events, parsed, "size")
        return events

    def _news(self, messages: list[Any], parsed: Parsed, received_ns: int) -> list[Batch]:
        """Each story as the fact `news_ns` of its symbols."""
        told = [(symbol, one.created_at) for one in messages for symbol in one.symbols]
        if not told:
            return []
        times = self._times([when for _, when in told])
        events = checked(
            "reference",
            self.table.places([symbol for symbol, _ in told]),
            {
                "ts_ns": times,
                "name": texts(["news_ns"] * len(told)),
                "value": times.astype(np.float64),
            },
            parsed,
            received_ns,
        )
        batch = events.batch(self.table)
        return [] if batch is None else [batch]


def _rank(message: Any) -> str | None:
    """None for trades and quotes, which come together; the kind of anything else."""
    tag = type(message).__struct_config__.tag
    return None if tag in (TRADES, QUOTES) else str(tag)


def _quote_bits(conditions: list[str] | None) -> int:
    bits = 0
    for one in conditions or ():
        bits |= QUOTE_BITS.get(one, 0)
    return bits


def _control(message: Any) -> Control:
    if isinstance(message, Error):
        return Control("error", str(message.code), message.msg)
    if isinstance(message, Subscription):
        fields = type(message).__struct_encode_fields__
        given = zip(fields, msgspec.structs.astuple(message), strict=True)
        return Control(
            "subscribed", channels={name: told for name, told in given if told is not None}
        )
    return Control(CODES.get(message.msg, "other"), text=message.msg)
