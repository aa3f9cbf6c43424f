"""`jetscan probe`: trades of a symbol that nobody else has, and how long until their alert is at a client.

A probe is two trades by hand, one below and one above a threshold, on `ticks.raw.<symbol>`: through MARKET,
the chain, ALERTS and a gateway they become an alert of a rule of our own, which we hear as any client does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from runtime import telemetry
from runtime.bus import Bus, BusError
from runtime.client import Feed, Message
from runtime.tracing import Sampling

log = telemetry.get_logger(__name__)

SYMBOL = "ZZPROBE"  # longer than a symbol of an exchange
SUBJECT = f"ticks.raw.{SYMBOL}"
RULE = "jetscan-probe"
BELOW, ABOVE, THRESHOLD = 100.0, 100.01, 100.005  # near, so that no toplist shows the symbol
ANSWER_S = 5.0  # a probe that takes longer is lost
CONNECT_S = 10.0


class ProbeError(RuntimeError):
    """The probe cannot be made; the text says why and what to do."""


@dataclass(frozen=True)
class Answer:
    """One probe: its trade, and how long its alert took; None: it did not come."""

    trade_id: int
    took_s: float | None

    def told(self) -> dict[str, Any]:
        """As JSON."""
        took_ms = None if self.took_s is None else round(self.took_s * 1000, 3)
        return {"trade_id": self.trade_id, "took_ms": took_ms}


class Probe:
    """Sends probes one after the other and hears their alerts."""

    def __init__(self, bus: Bus, feed: Feed, answer_s: float = ANSWER_S) -> None:
        self._bus, self._feed, self._answer_s = bus, feed, answer_s
        self._awaited: dict[int, asyncio.Future[float]] = {}
        self._sampling = Sampling(1)  # every probe is a trace, where traces are exported
        self._next_id = time.time_ns() // 1_000_000  # no probe before us had it

    async def run(self, every_s: float, count: int, say: Callable[[Answer], None]) -> None:
        """Probe until `count` are done (0: for ever). Raises ProbeError, BusError, client.Refused."""
        telemetry.PROBES.labels("lost")  # from 0 on, or the first one is no increase
        await self._feed.follow_alerts(symbols=[SYMBOL], rules=[RULE])
        try:
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(self._hear())
                await self._probe_all(every_s, count, say)
                hearing.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed  # each says by itself what to do

    async def _probe_all(self, every_s: float, count: int, say: Callable[[Answer], None]) -> None:
        await self._connected()
        for done in itertools.count(1):
            say(await self.probe())
            if done == count:
                return
            await asyncio.sleep(every_s)

    async def _connected(self) -> None:
        """Wait until alerts are ours: the gateway has said from which number on."""
        try:
            async with asyncio.timeout(CONNECT_S):
                while True:
                    if self._feed.after is not None:
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise ProbeError(
                f"no gateway answers at {self._feed.url} within {CONNECT_S:g} s; start one, or say --url"
            ) from error

    async def probe(self) -> Answer:
        """One probe; its time is from before the trade is stored until the alert is read."""
        self._next_id += 2
        trade_id = self._next_id
        heard = self._awaited[trade_id] = asyncio.get_running_loop().create_future()
        try:
            await self._trade(trade_id - 1, BELOW, {})
            sent = time.monotonic()
            with self._sampling.begin("probe", trade_id=trade_id) as headers:
                await self._trade(trade_id, ABOVE, headers)
                async with asyncio.timeout(self._answer_s):
                    took_s = await heard - sent
        except (TimeoutError, BusError) as error:
            reason = str(error) or f"no alert within {self._answer_s:g} s"
            log.warning("probe lost", trade_id=trade_id, reason=reason)
            telemetry.PROBES.labels("lost").inc()
            return Answer(trade_id, None)
        finally:
            del self._awaited[trade_id]
        telemetry.PROBES.labels("answered").inc()
        telemetry.PROBE_S.observe(took_s)
        telemetry.PROBED_AT.set_to_current_time()
        return Answer(trade_id, took_s)

    async def _trade(self, trade_id: int, price: float, headers: dict[str, str]) -> None:
        trade = {"price": price, "size": 1, "id": trade_id}
        async with asyncio.timeout(self._answer_s):
            await self._bus.put(SUBJECT, json.dumps(trade).encode(), headers, f"probe-{trade_id}")

    async def _hear(self) -> None:
        async for message in self._feed:
            for trade_id in _trades_of(message):
                waiting = self._awaited.get(trade_id)
                if waiting is not None and not waiting.done():
                    waiting.set_result(time.monotonic())


def _trades_of(message: Message) -> list[int]:
    """The trades that caused an alert of ours."""
    if message["type"] != "alert" or message["data"]["rule_id"] != RULE:
        return []
    return [int(one) for one in message["data"].get("causes", {}).get("trade_ids", ())]


async def keep_rule(http: httpx.AsyncClient) -> None:
    """Have the rule that probes fire, one of our own; raises ProbeError."""
    rule = {
        "id": RULE,
        "name": "Probe",
        "description": "Measures how long a trade takes to a client: jetscan probe.",
        "when": f"price > {THRESHOLD} during all on {SYMBOL}",
        "cooldown": 0,
    }
    try:
        answer = await http.post("/api/v1/rules", json=rule)
        if answer.status_code == 409:  # it is there: have it say the same
            answer = await http.put(f"/api/v1/rules/{RULE}", json=rule)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise ProbeError(f"no gateway answers at {http.base_url}: {reason}; say --url") from error
    if answer.is_success:
        return
    hint = "; say --token-file with a token of an account for probes"
    told = answer.text[:500] + (hint if answer.status_code == 401 else "")
    raise ProbeError(f"the gateway at {http.base_url} takes no rule: {answer.status_code} {told}")


async def run_probe(
    bus: Bus,
    url: str,
    token: str,
    every_s: float,
    count: int,
    say: Callable[[Answer], None],
) -> None:
    """Make the rule and probe; `url` is the gateway's http address."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=CONNECT_S) as http:
        await keep_rule(http)
    async with Feed("ws" + url.removeprefix("http").rstrip("/") + "/ws", token) as feed:
        await Probe(bus, feed).run(every_s, count, say)
