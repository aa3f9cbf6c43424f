"""Databento's gateway: lines of text until the session starts, then DBN; what was missed is sent again on request.

Source: Databento, live API, raw protocol and intraday replay.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import databento_dbn as dbn

from runtime.chaos.dialects import EVERYTHING, Client
from runtime.chaos.tape import Print

DATASET = "XNAS.ITCH"
PUBLISHER = 2  # Nasdaq TotalView-ITCH
SCHEMA = "trades"
ALL = "ALL_SYMBOLS"
RECEIVED_NS = 100_000  # by which its gateway hears a print after the exchange
PRICE_UNITS = 10**9
SIGNED = re.compile(r"[0-9a-f]{64}-.{5}")  # the digest of challenge and key, and the key's end
HEARTBEAT_S = 30.0


class Databento:
    """A session: signed in, subscribed, started."""

    symbols: tuple[str, ...] = ("AAPL", "MSFT", "NVDA", "TSLA")
    keys: tuple[str, ...] = ("DATABENTO_KEY",)
    is_patient: bool = True

    def url(self, address: str) -> str:
        return f"databento://{DATASET}?symbols={ALL}&schemas={SCHEMA}&host={address}"

    def greeting(self) -> list[Any]:
        return [b"lsg_version=0.7.0\n", b"cram=any\n"]

    def hear(self, message: Mapping[str, str], client: Client, is_refusing: bool) -> list[Any]:
        if "auth" in message:
            is_signed = SIGNED.fullmatch(message["auth"]) is not None
            client.is_known = is_signed and not is_refusing
            client.alive = lambda: _system("HEARTBEAT")
            client.caught_up = lambda: _system("REPLAY_COMPLETED")
            client.alive_s = float(message.get("heartbeat_interval_s", HEARTBEAT_S))
            if client.is_known:
                return [b"success=1|session_id=1\n"]
            return [b"success=0|error=Authentication failed.\n"]
        if not client.is_known:
            raise ValueError("expected auth before anything else")
        if "start_session" in message:
            client.is_started = True
            return [_metadata(client.start_ns or time.time_ns()), *self._subscribed(client)]
        return self._asked(message, client)

    def _asked(self, message: Mapping[str, str], client: Client) -> list[Any]:
        if message["schema"] == SCHEMA:
            client.asked |= set(message["symbols"].split(","))
            if "start" in message and not client.is_started:
                client.start_ns = int(message["start"])
        return self._subscribed(client) if client.is_started else []

    def _subscribed(self, client: Client) -> list[Any]:
        """Of a session that has started what is asked for is sent, and its instruments are named."""
        asked, client.asked = client.asked, set()
        if ALL in asked:
            asked = (asked - {ALL}) | set(self.symbols)
            client.symbols.add(EVERYTHING)
        known = sorted(asked & set(self.symbols))
        client.symbols |= set(known)
        unknown = sorted(asked - set(self.symbols))
        refused = [self._error("4", f"no instrument: {', '.join(unknown)}")] if unknown else []
        named = [_mapping(one, self.symbols.index(one) + 1) for one in known]
        return [_system("SUBSCRIPTION_ACK"), *refused, *named]

    def error(self, code: str) -> Any:
        return self._error(code, "as the script says")

    def _error(self, code: str, text: str) -> bytes:
        told = dbn.ErrorCode.from_int(int(code))
        return bytes(dbn.ErrorMsg(ts_event=time.time_ns(), err=text, code=told))

    def slow(self) -> list[Any]:
        return [_system("SLOW_READER_WARNING")]

    def frame(self, prints: Iterable[Print]) -> list[Any]:
        return [b"".join(map(self._record, prints))]

    def _record(self, one: Print) -> bytes:
        record = dbn.TradeMsg(
            publisher_id=PUBLISHER,
            instrument_id=self.symbols.index(one.symbol) + 1,
            ts_event=one.ts_ns,
            price=round(one.price * PRICE_UNITS),
            size=one.size,
            action=dbn.Action.TRADE,  # type: ignore[arg-type]
            side=dbn.Side.NONE,  # type: ignore[arg-type]
            depth=0,
            ts_recv=one.ts_ns + RECEIVED_NS,
            sequence=one.number,
        )
        return bytes(record)


def _metadata(start_ns: int) -> bytes:
    told = dbn.Metadata(
        dataset=DATASET,
        start=start_ns,
        stype_in=None,
        stype_out=dbn.SType.INSTRUMENT_ID,  # type: ignore[arg-type]
        schema=None,
    )
    return bytes(told.encode())


def _mapping(symbol: str, instrument: int) -> bytes:
    record = dbn.SymbolMappingMsg(
        publisher_id=PUBLISHER,
        instrument_id=instrument,
        ts_event=time.time_ns(),
        stype_in=dbn.SType.RAW_SYMBOL,  # type: ignore[arg-type]
        stype_in_symbol=symbol,
        stype_out=dbn.SType.INSTRUMENT_ID,  # type: ignore[arg-type]
        stype_out_symbol=symbol,
        start_ts=0,
        end_ts=dbn.UNDEF_TIMESTAMP,
    )
    return bytes(record)


def _system(code: str) -> bytes:
    told = getattr(dbn.SystemCode, code)
    return bytes(dbn.SystemMsg(ts_event=time.time_ns(), msg=code.lower(), code=told))
