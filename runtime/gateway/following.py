"""What a connection may follow, and what has to be asked elsewhere for it: callers, watchlists, old alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from runtime import telemetry
from runtime.gateway import sight
from runtime.gateway.access import ADMIN, Caller
from runtime.gateway.alert_past import before_the_ring
from runtime.gateway.auth import Unauthorized
from runtime.gateway.client import Client
from runtime.gateway.function_health import FunctionHealth
from runtime.gateway.live_metrics import LiveMetrics
from runtime.gateway.wanted import Names
from runtime.store import Outage

if TYPE_CHECKING:
    from runtime.gateway.gateway import Gateway

log = telemetry.get_logger(__name__)

# user -> the user's watchlists by id and by name: their symbols; raises Outage
Watchlists = Callable[[str], Awaitable[Mapping[str, Names]]]


async def no_watchlists(_: str) -> Mapping[str, Names]:
    """What is asked where nobody keeps watchlists."""
    return {}


class Following:
    """All that the connections of one gateway share beside the hub."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.hub, self.settings = gateway.hub, gateway.settings
        self.metrics = LiveMetrics(gateway.bus, gateway.subjects, gateway.hub, gateway.accepts)
        self.functions = FunctionHealth(gateway.bus, gateway.hub)
        self._is_empty = asyncio.Event()
        self.strangers: set[Client] = set()  # connections that have not told who they are

    @property
    def count(self) -> int:
        """How many connections there are."""
        return len(self.hub.clients) + len(self.strangers)

    def may_follow(self, user: str, name: str) -> bool:
        """Whether a user may follow a list."""
        return self._gateway.may_follow(user, name)

    def authenticate(self, client: Client, token: str) -> Caller | None:
        """Let a client in, or one that is in go on with a new token; None: it is closed."""
        try:
            caller = self._gateway.directory.caller(token)
        except Unauthorized as error:
            client.tell({"type": "error", "code": "unauthorized", "message": str(error)})
            client.close(1008, "no valid token")
            return None
        except Outage as error:
            client.close(1013, f"{error}; try again")
            return None
        if client.caller is not None and client.caller.user != caller.user:
            client.close(1008, "another user")
            return None
        self.let_in(client, caller)
        return None if client.closed else caller

    def let_in(self, client: Client, caller: Caller) -> None:
        """A connection of a known caller; too many of one user are closed."""
        is_new = client.caller is None
        if is_new and not caller.is_anonymous and self._of(caller.user) >= self._most:
            client.close(1008, f"at most {self._most} connections of a user")
            return
        client.caller = caller
        if is_new:
            self.see(client)
            self.strangers.discard(client)
            self.hub.join(client)

    @property
    def _most(self) -> int:
        return self.settings.websocket_connections_of_user_max

    def _of(self, user: str) -> int:
        return sum(client.user == user for client in self.hub.clients)

    def leave(self, client: Client) -> None:
        """Forget a connection."""
        self.strangers.discard(client)
        self.metrics.leave_all(client)
        self.hub.leave(client)
        if not self.count:
            self._is_empty.set()

    async def emptied(self) -> None:
        """Wait until there is no connection."""
        while self.count:
            self._is_empty.clear()
            await self._is_empty.wait()

    async def watchlists_of(self, client: Client) -> Mapping[str, Names]:
        """The client's watchlists; raises ValueError saying that they cannot be had now."""
        try:
            with client.held_back():
                return await self._gateway.watchlists(client.user)
        except Outage as error:
            raise ValueError(f"watchlists cannot be read now: {error}; try again") from error

    async def look_up_watchlists(self, user: str | None = None) -> None:
        """Take the watchlists of a user, or of all who named some, as they are now."""
        naming = [one for one in self.hub.clients if one.wanted.names_lists]
        for name in sorted({one.user for one in naming if user in (None, one.user)}):
            try:
                lists = await self._gateway.watchlists(name)
            except Outage as error:
                log.warning("watchlists stay as they were", user=name, reason=str(error))
                continue
            for client in [one for one in naming if one.user == name]:
                client.wanted.look_up(lists)

    def see_again(self) -> None:
        """Rules changed: whose alerts are hidden from whom is asked again."""
        rules = self._gateway.rules.things
        private = {name for name, rule in rules.items() if not sight.may_see(rule, "")}
        everybody = sight.hidden(self._gateway, "")
        owners = {rules[name]["user_id"] for name in private}
        owners |= set(self._gateway.book.departed.values())
        for client in self.hub.clients:  # most own no such rule: they share one set
            is_owner = client.user in owners or self._sees_all(client)
            client.hidden = self._hidden(client) if is_owner else everybody

    def see(self, client: Client) -> None:
        """Note the rules whose alerts a client may not see."""
        client.hidden = self._hidden(client)

    def _hidden(self, client: Client) -> Names:
        return sight.hidden(self._gateway, client.user, self._sees_all(client))

    def _sees_all(self, client: Client) -> bool:
        return client.caller is None or client.caller.is_anonymous or ADMIN in client.caller.roles

    async def resume(self, client: Client, after: int) -> None:
        """Send what came after alert `after`: from the database what the ring holds no more, then the ring."""
        if after < self.hub.oldest - 1 and self._gateway.store is not None:
            client.is_resuming = True
            try:
                with client.held_back():
                    after = await before_the_ring(
                        self._gateway.store, client, after, self.hub.oldest
                    )
            finally:
                client.is_resuming = False
        self.hub.resume(client, after)

    def is_valid(self, caller: Caller) -> bool:
        """Whether somebody who was let in would be let in now."""
        return self._gateway.directory.is_valid(caller)
