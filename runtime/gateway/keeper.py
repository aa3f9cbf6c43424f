"""Keep connections honest: heartbeats, callers that must tell who they are, tokens that end, the silent cut off."""

from __future__ import annotations

import asyncio
import time

from runtime import telemetry
from runtime.gateway.client import Client
from runtime.gateway.following import Following

LOOK_S = 1.0
PING_S = 30.0
STALE_S = 120.0  # nothing heard for so long, not even a pong: twice the read timeout clients know
AUTH_S = 5.0  # a connection without a token has this long to tell who it is
CHECK_S = 60.0  # watchlists are looked at again, should another gateway have changed them


class Keeper:
    """Looks at every connection once a second."""

    def __init__(self, following: Following) -> None:
        self._following, self._hub = following, following.hub
        self._looked_up_at = time.monotonic()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look(time.monotonic())

    async def look(self, now: float) -> None:
        """Look at every connection once; `now` is monotonic."""
        for client in list(self._following.strangers):
            if now - client.begun_at > AUTH_S:
                client.close(1008, f"no token within {AUTH_S:g} s")
        for client in list(self._hub.clients):
            self._look_at(client, now)
        if now - self._looked_up_at > CHECK_S:
            self._looked_up_at = now
            await self._following.look_up_watchlists()

    def _look_at(self, client: Client, now: float) -> None:
        caller = client.caller
        if client.closed is not None or caller is None:
            return
        if client.line is not None and now - client.line.heard_at > STALE_S:
            telemetry.DROPPED_CLIENTS.inc()
            client.cut()
        elif not self._following.is_valid(caller):
            client.close(1008, "the token is not valid any more")
        if now - client.pinged_at > PING_S and client.is_free:
            client.pinged_at = now
            client.ping()
