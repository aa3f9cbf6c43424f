"""Databento's binary records (DBN, files and live) as columns, through the `databento-dbn` package. Pure.

An instrument id means a symbol from one time to another: the metadata of a file and SymbolMapping
records of a live session say which. Source: Databento, DBN encoding and standards.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from itertools import groupby
from typing import Any

import databento_dbn as dbn
import numpy as np

from runtime.frames import Array, texts
from runtime.providers import Batch
from runtime.providers.instruments import NEVER_NS, Instruments
from runtime.providers.messages import (
    Columns,
    Control,
    Parsed,
    SymbolTable,
    check_prices,
    check_sizes,
    check_times,
    columns_of,
)

SCALE = 1e9
MINUTE_RTYPE, DAY_RTYPES = 0x21, (0x23, 0x24)
HALTED = (8, 9, 10, 15)  # halt, pause, suspend, not available
TRADING = 7
LULD_PAUSE = 50
MARKET_WIDE = {120: "MWC1", 121: "MWC2", 122: "MWC3"}
SAYS_NOTHING = 2
BAD_TS_RECV, MAYBE_BAD_BOOK, SNAPSHOT = 0x08, 0x04, 0x20
END_OF_INTERVAL, SLOW_READER = 4, 2
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
DAY_NS = 86_400_000_000_000
TRADE_ACTION = "T"


class DatabentoParser:
    """Bytes of one file or one live session, in pieces of any size."""

    def __init__(self, is_compressed: bool = False) -> None:
        compression = dbn.Compression.ZSTD if is_compressed else dbn.Compression.NONE
        self._decoder = dbn.DBNDecoder(compression=compression)  # type: ignore[arg-type]
        self._instruments = Instruments()
        self._is_broken = False
        self.table = SymbolTable()
        self.watermark_ns = 0  # every interval that ended before this is complete

    def parse(self, data: bytes, received_ns: int = 0) -> Parsed:
        """What came in whole records; the rest waits for more. After broken bytes nothing is read."""
        parsed = Parsed()
        if self._is_broken:
            parsed.refuse("bytes after a broken record")
            return parsed
        try:
            records = self._decoder.write_and_decode(data)
        except (dbn.DBNError, ValueError, TypeError) as error:
            self._is_broken = True
            parsed.refuse(f"not DBN: {error}")
            return parsed
        for kind, run in groupby(records, type):
            self._add(kind, list(run), parsed, received_ns)
        return parsed

    def _add(self, kind: type[Any], records: list[Any], parsed: Parsed, received_ns: int) -> None:
        makers: dict[type[Any], Callable[[list[Any], Parsed], Columns | None]] = {
            dbn.TradeMsg: self._trades,
            dbn.MBP1Msg: self._quotes,
            dbn.BBOMsg: self._quotes,
            dbn.CMBP1Msg: self._quotes,
            dbn.CBBOMsg: self._quotes,
            dbn.MBP10Msg: self._quotes,
            dbn.OHLCVMsg: self._bars,
            dbn.StatusMsg: self._statuses,
        }
        if kind in (
            dbn.MBP1Msg,
            dbn.CMBP1Msg,
        ):  # of tbbo and mbp-1: trades with the book before them
            trades = [one for one in records if str(_value(one.action)) == TRADE_ACTION]
            if trades:
                self._keep(self._trades(trades, parsed), parsed, received_ns)
        maker = makers.get(kind)
        if maker is not None:
            self._keep(maker(records, parsed), parsed, received_ns)
        else:
            self._learn(kind, records, parsed)

    def _keep(self, events: Columns | None, parsed: Parsed, received_ns: int) -> None:
        if events is None:
            return
        check_times(events, parsed, received_ns)
        batch = events.batch(self.table)
        if batch is not None:
            parsed.batches.append(batch)

    def _learn(self, kind: type[Any], records: list[Any], parsed: Parsed) -> None:
        for one in records:
            if isinstance(one, dbn.Metadata):
                self._learn_metadata(one)
            elif isinstance(one, dbn.SymbolMappingMsg | dbn.SymbolMappingMsgV1):
                self._learn_mapping(one)
                parsed.controls.append(
                    Control("subscribed", channels={"mapped": [one.stype_in_symbol]})
                )
            elif isinstance(one, dbn.ErrorMsg | dbn.ErrorMsgV1):
                code = getattr(one, "code", "")
                parsed.controls.append(Control("error", str(_value(code)), one.err))
            elif isinstance(one, dbn.SystemMsg | dbn.SystemMsgV1):
                parsed.controls.append(self._system(one))
            elif kind not in (dbn.InstrumentDefMsg, dbn.StatMsg, dbn.ImbalanceMsg, dbn.MBOMsg):
                parsed.unknown[kind.__name__] += 1

    def _learn_metadata(self, metadata: Any) -> None:
        """Mappings of a file: of ids where symbols were asked for, or the other way round."""
        is_reversed = str(_value(metadata.stype_out)) not in ("instrument_id", "0")
        for left, intervals in metadata.mappings.items():
            for one in intervals:
                symbol, number = (one["symbol"], left) if is_reversed else (left, one["symbol"])
                if str(number).isdigit():
                    begin, end = _midnight_ns(one["start_date"]), _midnight_ns(one["end_date"])
                    self._instruments.add(int(number), symbol, begin, end)

    def _learn_mapping(self, mapping: Any) -> None:
        symbol = mapping.stype_out_symbol or mapping.stype_in_symbol
        begin = 0 if mapping.start_ts in (None, dbn.UNDEF_TIMESTAMP) else int(mapping.start_ts)
        end = mapping.end_ts
        until = NEVER_NS if end in (None, dbn.UNDEF_TIMESTAMP) else min(int(end), NEVER_NS)
        self._instruments.add(int(mapping.instrument_id), symbol, begin, until)

    def _system(self, system: Any) -> Control:
        code = int(_value(getattr(system, "code", 0) or 0))
        if code == END_OF_INTERVAL:
            self.watermark_ns = max(self.watermark_ns, int(system.ts_event))
        kind = "slow" if code == SLOW_READER else "other"
        return Control(kind, text=system.msg)  # its codes are not those of errors

    # -- columns

    def _placed(self, records: list[Any], ts_ns: Array, parsed: Parsed) -> Array:
        """The place of each record's symbol; one without a symbol is refused, not given another's."""
        ids = np.array([one.instrument_id for one in records], dtype=np.int64)
        named = self._instruments.symbols_at(ids, ts_ns)
        places = np.full(len(records), -1, dtype=np.int64)
        known = np.array([one is not None for one in named], dtype=bool)
        for number in ids[~known].tolist():
            parsed.refuse(f"instrument {number} has no symbol at that time")
        if known.any():
            places[known] = self.table.places(named[known].tolist())
        return places

    def _events(
        self, kind: str, records: list[Any], columns: dict[str, Array], parsed: Parsed
    ) -> Columns:
        ts_ns = np.array([one.ts_event for one in records], dtype=np.uint64).astype(np.int64)
        return columns_of(kind, self._placed(records, ts_ns, parsed), {"ts_ns": ts_ns, **columns})

    def _trades(self, records: list[Any], parsed: Parsed) -> Columns:
        columns = {
            "price": _prices(one.price for one in records),
            "size": np.array([one.size for one in records], dtype=np.float64),
            "id": np.array([getattr(one, "sequence", 0) for one in records], dtype=np.int64),
        }
        events = self._events("trades", records, columns, parsed)
        check_prices(events, parsed, "price")
        check_sizes(events, parsed, "size")
        return events

    def _quotes(self, records: list[Any], parsed: Parsed) -> Columns:
        levels = [one.levels[0] for one in records]
        columns = {
            "bid": _none_is_0(_prices(one.bid_px for one in levels)),
            "ask": _none_is_0(_prices(one.ask_px for one in levels)),
            "bid_size": np.array([one.bid_sz for one in levels], dtype=np.float64),
            "ask_size": np.array([one.ask_sz for one in levels], dtype=np.float64),
            "condition": np.array([_book_bits(one) for one in records], dtype=np.uint8),
        }
        events = self._events("quotes", records, columns, parsed)
        check_prices(events, parsed, "bid", "ask", is_none_allowed=True)
        return events

    def _bars(self, records: list[Any], parsed: Parsed) -> Columns | None:
        rtype = int(_value(records[0].rtype))
        kind = "bars" if rtype == MINUTE_RTYPE else "days" if rtype in DAY_RTYPES else "other_bars"
        columns = {
            name: _prices(getattr(one, name) for one in records)
            for name in ("open", "high", "low", "close")
        }
        columns["volume"] = np.array([one.volume for one in records], dtype=np.float64)
        events = self._events(kind, records, columns, parsed)
        check_prices(events, parsed, "open", "high", "low", "close")
        return events

    def _statuses(self, records: list[Any], parsed: Parsed) -> Columns:
        columns = {
            "code": np.array([_status_code(one) for one in records], dtype=np.uint8),
            "action": texts([""] * len(records)),
            "reason": texts([_reason(one) for one in records]),
        }
        return self._events("status", records, columns, parsed)


def is_zstd(data: bytes) -> bool:
    """Whether bytes begin a zstd frame."""
    return data[:4] == ZSTD_MAGIC


def batches_of(data: bytes) -> list[Batch]:
    """All batches of a whole file; raises ValueError with the reason where it is broken."""
    parser = DatabentoParser(is_zstd(data))
    parsed = parser.parse(data)
    if parsed.refused and not parsed.batches:
        raise ValueError(parsed.refused[0])
    return parsed.batches


def _value(one: Any) -> Any:
    return getattr(one, "value", one)


def _prices(values: Any) -> Array:
    """Units of 1e-9 as prices; NaN where there is none."""
    listed = [dbn.UNDEF_PRICE if one is None else one for one in values]
    units = np.array(listed, dtype=np.int64)
    return np.where(units == dbn.UNDEF_PRICE, np.nan, units / SCALE)


def _none_is_0(prices: Array) -> Array:
    return np.where(np.isnan(prices), 0.0, prices)


def _book_bits(record: Any) -> int:
    """A book that may be wrong is not firm."""
    return int(bool(int(_value(getattr(record, "flags", 0))) & MAYBE_BAD_BOOK))


def _status_code(status: Any) -> int:
    action = int(_value(status.action))
    if action in HALTED:
        return 1
    return 0 if action == TRADING else SAYS_NOTHING


def _reason(status: Any) -> str:
    reason = int(_value(status.reason))
    if reason == LULD_PAUSE:
        return "LUDP"
    return MARKET_WIDE.get(reason, "")


def _midnight_ns(day: datetime.date) -> int:
    return (day - datetime.date(1970, 1, 1)).days * DAY_NS
