"""Three lamps for everybody: how old the data is, how far the engine is behind, whether alerts are heard."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart
from quart_schema import document_response, tag
from werkzeug.exceptions import HTTPException

from runtime import telemetry
from runtime.bus import BusError, Listener
from runtime.feed_health import Health, Heard
from runtime.gateway.engine import STREAM, EngineView, newest_ns
from runtime.gateway.gateway import Gateway
from runtime.gateway.trading_days import Day, TradingDays
from runtime.shapes import rfc3339

log = telemetry.get_logger(__name__)

FRESH_S = 1.0  # however many ask
STALE_S = 10.0  # what is older is not told: who asks waits for news
SOURCES = {"trades": "ticks.trades", "quotes": "ticks.quotes"}
SOME_SYMBOL = "SPY"  # of the market whose sessions are told
DAY_NS = 86_400 * 10**9
REPLAY_NS = 3_600 * 10**9
AHEAD_DAYS, BACK_DAYS = 7, 1
ALERTS = "alerts"  # the function that numbers them


class AlertLamp(BaseModel):
    """Whether alerts are heard."""

    state: str = Field(description="ok, starting, paused, not hosted, or down")
    newest: int = Field(description="number of the newest alert")


class Source(BaseModel):
    """A kind of market data."""

    name: str
    age_ms: float | None = Field(
        description="since its newest event was stored; null = there was none"
    )


class Feed(BaseModel):
    """A feed that an ingest process reads."""

    source: str = Field(description="whose events are published", examples=["massive"])
    state: str = Field(description="ok, starting, standby or lost")
    since: str = Field(description="when it came to be so, RFC 3339")
    reason: str = Field(description="of standby and lost", examples=["no data from alpaca"])


class Status(BaseModel):
    """How things are."""

    session: str = Field(description="premarket, market, postmarket or closed, of US stocks")
    clock: str | None = Field(description="the market's time: the newest clock event")
    data_age_ms: float | None = Field(description="how long ago the newest print was stored")
    is_replay: bool = Field(description="prints are stamped hours from when they are stored")
    engine_lag_ms: float | None = Field(
        description="market time between the newest clock event and what functions answered; "
        "null = no worker tells"
    )
    refused: int = Field(description="functions that are not hosted as they stand on disk")
    alerts: AlertLamp
    sources: list[Source]
    feeds: list[Feed] = Field(description="what processes told within 5 s, the worst first")


class Board:
    """The newest answer, made once for all who ask within a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._days = TradingDays(gateway.settings, gateway.accepts)
        self._known: list[Day] = []
        self._known_of_day = -1
        self._told: dict[str, Any] = {}
        self._told_at = -STALE_S
        self._asking: asyncio.Task[None] | None = None
        self._heard = Heard()
        self._listener: Listener | None = None

    async def read(self) -> dict[str, Any]:
        """The status, at most FRESH_S older than asked for while anybody asks all the time."""
        age_s = time.monotonic() - self._told_at
        if age_s > FRESH_S and self._asking is None:
            self._asking = asyncio.create_task(self._renew())
        if age_s > STALE_S and self._asking is not None:
            await asyncio.shield(self._asking)
        return self._told

    async def _renew(self) -> None:
        try:
            self._told = await self._looked()
            self._told_at = time.monotonic()
        except BusError as error:
            log.warning("status not known", reason=str(error))
            alerts = {"state": "down", "newest": self._gateway.hub.newest}
            unknown = dict.fromkeys(("clock", "data_age_ms", "engine_lag_ms"))
            told = {"session": "closed", **unknown, "is_replay": False, "refused": 0}
            self._told = {**told, "alerts": alerts, "sources": [], "feeds": []}
        finally:
            self._asking = None

    async def _looked(self) -> dict[str, Any]:
        bus, subjects = self._gateway.bus, self._gateway.subjects
        if self._listener is None:
            self._listener = await self._heard.listen(bus)
        view = await self._gateway.engine.ask()
        now_ns, sources, is_replay = time.time_ns(), [], False
        for name, base in SOURCES.items():
            messages = await bus.newest(STREAM, [f"{base}.*"])
            # By when it came, not by its stamp: a simulated or replayed day is not old data.
            stored_ns = max((one.ts_ns for one in messages.values()), default=0)
            stamped_ns = newest_ns(messages, base, subjects)
            is_replay |= bool(stamped_ns) and abs(stored_ns - stamped_ns) > REPLAY_NS
            age_ms = max(now_ns - stored_ns, 0) / 1e6 if stored_ns else None
            sources.append({"name": name, "age_ms": age_ms})
        return {
            "session": await self._session(view.clock_ns or now_ns),
            "clock": rfc3339(view.clock_ns) if view.clock_ns else None,
            "data_age_ms": sources[0]["age_ms"],
            "is_replay": is_replay,
            "engine_lag_ms": view.behind_ms(),
            "refused": len(set(view.faults)),
            "alerts": {"state": self._alerts_state(view), "newest": self._gateway.hub.newest},
            "sources": sources,
            "feeds": [_feed(one) for one in self._heard.feeds()],
        }

    def _alerts_state(self, view: EngineView) -> str:
        if not self._gateway.bus.connected:
            return "down"
        if not self._gateway.is_loaded:
            return "starting"
        if {ALERTS, view.chains_of.get(ALERTS, ALERTS)} & view.paused:
            return "paused"
        return "ok" if view.units_of(ALERTS) else "not hosted"

    async def _session(self, at_ns: int) -> str:
        """The session of US stocks at a time; closed where no function knows the days."""
        if at_ns // DAY_NS != self._known_of_day:
            begin = at_ns // DAY_NS * DAY_NS
            try:
                found = await self._days.of(
                    SOME_SYMBOL, begin - BACK_DAYS * DAY_NS, begin + AHEAD_DAYS * DAY_NS
                )
                self._known, self._known_of_day = found.days, at_ns // DAY_NS
            except HTTPException as error:
                log.info("sessions not known", reason=str(error.description))
        for day in self._known:
            if day.start_ns <= at_ns < day.end_ns:
                if at_ns < day.open_ns:
                    return "premarket"
                return "market" if at_ns < day.close_ns else "postmarket"
        return "closed"


def _feed(one: Health) -> dict[str, Any]:
    since = rfc3339(one.since_ns)
    return {"source": one.source, "state": one.state, "since": since, "reason": one.reason}


def add(app: Quart, gateway: Gateway) -> None:
    """Add the route."""
    board = Board(gateway)

    @app.get("/api/v1/status")
    @tag(["status"])
    @document_response(Status, 200)
    async def get_status() -> Any:
        """Session, age of the data, lag of the engine and the alert channel; cheap to ask every second."""
        return await board.read()
