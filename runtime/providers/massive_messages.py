"""Massive's (formerly Polygon.io) stocks and crypto websocket messages as columns. Pure.

Times come in ms, us or ns under one name and are told apart by magnitude; sizes of quotes are round lots.
Source: Massive, websocket specification; conditions see `runtime.providers.conditions`.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from runtime import telemetry
from runtime.frames import Array, texts
from runtime.providers.conditions import is_extended, massive_flags
from runtime.providers.messages import (
    Columns,
    Control,
    Parsed,
    Reader,
    SymbolTable,
    checked,
    floats,
    times_of_numbers,
    whole,
)

# Imbalances, fair and launchpad values, values of indices, order books: known, and not used.
IGNORED = ("NOI", "FMV", "LV", "V", "XL2", "XA", "XAS")
TAPES = {1: "A", 2: "B", 3: "C"}
BANDS_ONLY = 2
CONTROLS = {
    "connected": "connected",
    "auth_success": "authenticated",
    "success": "subscribed",
    "auth_failed": "error",
    "auth_timeout": "error",
    "error": "error",
    "max_connections": "error",
    "force_disconnect": "closing",
    "slow_consumer": "closing",
}


class _Message(msgspec.Struct, tag_field="ev", gc=False):
    pass


class Trade(_Message, tag="T"):
    sym: str
    p: float
    s: float
    t: int
    i: str | int = 0
    x: int = 0
    z: int = 0
    ds: str | None = None
    c: list[int] | None = None
    q: int = 0
    trfi: int = 0
    trft: int = 0


class Quote(_Message, tag="Q"):
    sym: str
    t: int
    bp: float = 0.0
    bs: float = 0.0
    ap: float = 0.0
    asked: float = msgspec.field(name="as", default=0.0)
    bx: int = 0
    ax: int = 0
    c: int | None = None
    i: list[int] | None = None
    q: int = 0
    z: int = 0


class _Aggregate(_Message):
    sym: str
    o: float
    c: float
    h: float
    l: float  # noqa: E741 -- the vendor's name
    v: float
    s: int
    e: int
    dv: str | None = None
    av: float = 0.0
    dav: str | None = None
    op: float | None = None
    vw: float | None = None
    a: float | None = None
    z: float = 0.0
    otc: bool = False


class SecondAggregate(_Aggregate, tag="A"):
    pass


class MinuteAggregate(_Aggregate, tag="AM"):
    pass


class Luld(_Message, tag="LULD"):
    T: str
    t: int
    h: float
    l: float  # noqa: E741 -- the vendor's name
    i: list[int] | None = None
    z: int = 0
    q: int = 0


class CryptoTrade(_Message, tag="XT"):
    pair: str
    p: float
    s: float
    t: int
    i: str | int = 0
    x: int = 0
    c: list[int] | None = None
    r: int = 0


class CryptoQuote(_Message, tag="XQ"):
    pair: str
    t: int
    bp: float = 0.0
    bs: float = 0.0
    ap: float = 0.0
    asked: float = msgspec.field(name="as", default=0.0)
    x: int = 0
    r: int = 0


class Status(_Message, tag="status"):
    status: str = ""
    message: str = ""


KINDS = (
    *(Trade, Quote, SecondAggregate, MinuteAggregate, Luld),
    *(CryptoTrade, CryptoQuote, Status),
)
TICKS = ("T", "Q", "XT", "XQ")


class MassiveParser:
    """Frames of one connection, one after the other."""

    def __init__(self, odd_lots: str = "volume") -> None:
        self.table = SymbolTable()
        self._reader = Reader(KINDS, "ev", IGNORED)
        self._odd_lots = odd_lots

    def parse(self, data: bytes, received_ns: int = 0) -> Parsed:
        """What a frame holds; see `AlpacaParser.parse`."""
        parsed = Parsed()
        for tag, run in groupby(self._reader.read(data, parsed), _rank):
            messages = list(run)
            if tag == "ticks":
                self._add_ticks(messages, parsed, received_ns)
            elif tag == "status":
                parsed.controls += [_control(one) for one in messages]
            elif tag == "LULD":
                self._keep(self._bands(messages, parsed, received_ns), parsed)
            else:
                self._keep(self._bars(tag, messages, parsed, received_ns), parsed)
        return parsed

    def add_trades(self, trades: list[Trade], parsed: Parsed) -> None:
        """Trades that came in another way, as a batch."""
        if trades:
            self._keep(self._trades(trades, parsed, 0), parsed)

    def _add_ticks(self, messages: list[Any], parsed: Parsed, received_ns: int) -> None:
        by_kind: dict[type[Any], list[Any]] = {}
        for one in messages:
            by_kind.setdefault(type(one), []).append(one)
        for kind, some in sorted(by_kind.items(), key=lambda one: _tag(one[0]) in ("T", "XT")):
            make = self._trades if _tag(kind) in ("T", "XT") else self._quotes
            self._keep(make(some, parsed, received_ns), parsed)

    def _keep(self, events: Columns, parsed: Parsed) -> None:
        batch = events.batch(self.table)
        if batch is not None:
            parsed.batches.append(batch)

    def _trades(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        is_stock = _tag(type(messages[0])) == "T"
        sizes = [one.s if not is_stock or one.ds is None else one.ds for one in messages]
        events = checked(
            "trades",
            self.table.places([one.sym if is_stock else one.pair for one in messages]),
            {
                "ts_ns": times_of_numbers([one.t for one in messages]),
                "price": floats(one.p for one in messages),
                "size": floats(sizes),
                "id": whole(one.i for one in messages),
            },
            parsed,
            received_ns,
        )
        if is_stock:
            events.columns["upd"] = self._updates(messages, events.columns["ts_ns"])
        return events

    def _updates(self, messages: list[Any], ts_ns: Array) -> Array:
        known: dict[tuple[tuple[int, ...], int, bool], int] = {}
        flags = np.empty(len(messages), dtype=np.uint8)
        for place, (one, extended) in enumerate(
            zip(messages, is_extended(ts_ns).tolist(), strict=True)
        ):
            key = tuple(one.c or ()), one.z, extended
            if key not in known:
                tape = TAPES.get(one.z, "A")
                known[key], unknown = massive_flags(key[0], tape, extended, self._odd_lots)
                for code in unknown:
                    telemetry.UNKNOWN_CONDITIONS.labels(code).inc()
            flags[place] = known[key]
        return flags

    def _quotes(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        is_stock = _tag(type(messages[0])) == "Q"
        return checked(
            "quotes",
            self.table.places([one.sym if is_stock else one.pair for one in messages]),
            {
                "ts_ns": times_of_numbers([one.t for one in messages]),
                "bid": floats(one.bp for one in messages),
                "ask": floats(one.ap for one in messages),
                "bid_size": floats(one.bs for one in messages),
                "ask_size": floats(one.asked for one in messages),
                "condition": np.zeros(len(messages), dtype=np.uint8),
                "lots": np.full(len(messages), int(is_stock), dtype=np.uint8),
            },
            parsed,
            received_ns,
        )

    def _bars(self, tag: str, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        volumes = [one.v if one.dv is None else one.dv for one in messages]
        fields = {"open": "o", "high": "h", "low": "l", "close": "c", "vwap": "vw"}
        return checked(
            "bars" if tag == "AM" else "seconds",
            self.table.places([one.sym for one in messages]),
            {
                "ts_ns": times_of_numbers([one.s for one in messages]),
                **{
                    name: floats(getattr(one, field) for one in messages)
                    for name, field in fields.items()
                },
                "volume": floats(volumes),
            },
            parsed,
            received_ns,
        )

    def _bands(self, messages: list[Any], parsed: Parsed, received_ns: int) -> Columns:
        return checked(
            "status",
            self.table.places([one.T for one in messages]),
            {
                "ts_ns": times_of_numbers([one.t for one in messages]),
                "code": np.full(len(messages), BANDS_ONLY, dtype=np.uint8),
                "action": texts([""] * len(messages)),
                "limit_up": floats(one.h for one in messages),
                "limit_down": floats(one.l for one in messages),
            },
            parsed,
            received_ns,
        )


def _tag(kind: type[Any]) -> str:
    return str(kind.__struct_config__.tag)


def _rank(message: Any) -> str:
    tag = _tag(type(message))
    return "ticks" if tag in TICKS else tag


def _control(message: Any) -> Control:
    return Control(CONTROLS.get(message.status, "other"), message.status, message.message)
