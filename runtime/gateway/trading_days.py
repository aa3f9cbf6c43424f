"""The trading days of a symbol, as the function that keeps calendars tells them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quart import abort

from runtime.config import Settings

SUBJECT = "ask.days"
SETUP = ("closures", "markets")  # settings of functions that say which calendars there are


@dataclass(frozen=True)
class Day:
    """A trading day: its date, when its first session begins, the market's bounds, its end; UTC ns."""

    day: str
    start_ns: int
    open_ns: int
    close_ns: int
    end_ns: int


@dataclass(frozen=True)
class Days:
    """The days of a symbol's market within some times, and the time zone of its clocks."""

    market: str
    zone: str
    days: list[Day]


class TradingDays:
    """Asks the functions; the first answer loads calendars, which takes a second."""

    def __init__(self, settings: Settings, accepts: Mapping[str, Callable[[str], str]]) -> None:
        self._accept = accepts.get(SUBJECT)
        self._setup = _setup_of(settings)
        self._is_loaded = False

    async def of(self, symbol: str, from_ns: int, to_ns: int) -> Days:
        """The days of which a session lies within the times; 503 where no function answers, 400."""
        if self._accept is None:
            abort(503, f"no hosted function answers {SUBJECT}")
        text = json.dumps({"symbol": symbol, "from_ns": from_ns, "to_ns": to_ns, **self._setup})
        try:
            answer = (
                self._accept(text)
                if self._is_loaded
                else await asyncio.to_thread(self._accept, text)
            )
        except ValueError as error:
            abort(400, str(error))
        self._is_loaded = True
        told: dict[str, Any] = json.loads(answer)
        return Days(told["market"], told["zone"], [Day(**one) for one in told["days"]])


def _setup_of(settings: Settings) -> dict[str, str]:
    """The calendars a deployment adds, from whichever functions are told of them."""
    found: dict[str, str] = {}
    for told in settings.functions.values():
        found |= {name: str(told[name]) for name in SETUP if told.get(name)}
    return found
