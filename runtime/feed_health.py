"""How the feeds of an ingest are, told over NATS by whoever reads them and heard by gateways.

    ok         what is wanted comes
    starting   nothing has come yet
    standby    the first source has no data; a later one is published
    lost       its connection ended and is opened again, or none of several has data

Told every TELL_S and kept nowhere: what is not told for FORGOTTEN_S is not known any more.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, Listener, Message, Silence

log = telemetry.get_logger(__name__)

SUBJECT = "runtime.feeds"
TELL_S = 1.0
FORGOTTEN_S = 5.0
TOLD_MAX = 1_000  # feeds that a gateway remembers
OK, STARTING, STANDBY, LOST = "ok", "starting", "standby", "lost"
STATES = (OK, STARTING, STANDBY, LOST)


@dataclass(frozen=True)
class Health:
    """How one feed is, since a time of the wall's clock; `source` is whose events are published."""

    source: str
    state: str
    since_ns: int
    reason: str = ""

    def becomes(self, state: str, reason: str = "") -> Health:
        """The same feed in another state from now on; itself where nothing changed."""
        if (state, reason) == (self.state, self.reason):
            return self
        return replace(self, state=state, since_ns=time.time_ns(), reason=reason)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self)}


def starting(source: str) -> Health:
    """A feed of which nothing has come."""
    return Health(source, STARTING, time.time_ns())


async def keep_told(bus: Bus, healths: Callable[[], list[Health]]) -> None:
    """Tell how feeds are until cancelled."""
    name = secrets.token_hex(4)
    while True:
        if bus.connected:
            feeds = healths()
            telemetry.note_feeds({one.source: one.state in (OK, STARTING) for one in feeds})
            told = {"ingest": name, "feeds": [one.told() for one in feeds]}
            try:
                await bus.publish(SUBJECT, json.dumps(told).encode())
            except Silence as error:
                log.warning("feeds cannot be told", reason=str(error))
        await asyncio.sleep(TELL_S)


class Heard:
    """What was told of feeds lately."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._of: dict[str, tuple[float, list[Health]]] = {}  # by ingest

    async def listen(self, bus: Bus) -> Listener:
        """Hear from now on."""
        return await bus.listen(SUBJECT, self.hear)

    def hear(self, message: Message) -> None:
        """Take what an ingest tells; what is none is left out, with its reason in the log."""
        try:
            told = json.loads(message.data)
            feeds = [_read(one) for one in told["feeds"]]
            name = str(told["ingest"])
        except (ValueError, KeyError, TypeError) as error:
            log.warning("not the health of feeds", reason=repr(error))
            return
        self._of[name] = self._now(), feeds
        self._forget()

    def feeds(self) -> list[Health]:
        """Every feed that is known, the worst first."""
        self._forget()
        found = [one for _, feeds in self._of.values() for one in feeds]
        return sorted(found, key=lambda one: (-STATES.index(one.state), one.source))

    def _forget(self) -> None:
        least = self._now() - FORGOTTEN_S
        self._of = {name: one for name, one in self._of.items() if one[0] >= least}
        while sum(len(feeds) for _, feeds in self._of.values()) > TOLD_MAX:
            del self._of[next(iter(self._of))]


def _read(told: dict[str, Any]) -> Health:
    state = told["state"]
    if state not in STATES:
        raise ValueError(f"state: expected one of {', '.join(STATES)}, found {state!r:.40}")
    return Health(str(told["source"])[:64], state, int(told["since_ns"]), str(told["reason"])[:200])
