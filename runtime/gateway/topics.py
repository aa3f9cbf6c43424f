"""What has a newest version only, and who follows it: toplists, running bars, metrics, functions."""

from __future__ import annotations

from typing import Any

from runtime.gateway.client import Client
from runtime.gateway.rankings import Ranking
from runtime.gateway.updates import Update


class Topic:
    """A thing and its newest version; a follower that cannot take every version skips some."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.version = 0  # 0 = nothing is known yet
        self.followers: dict[Client, int] = {}  # client -> version sent; 0 = none yet
        self._update: Update | None = None

    def renew(self, message: dict[str, Any]) -> None:
        """The newest version."""
        self.version += 1
        self._update = Update(message)

    def leave(self, client: Client) -> None:
        """Somebody follows no more."""
        self.followers.pop(client, None)

    def is_new_for(self, client: Client) -> bool:
        """Whether a follower has not been sent the newest version."""
        return self.version != 0 and self.followers.get(client, self.version) != self.version

    def update_for(self, client: Client) -> Update | None:  # noqa: ARG002 -- the same for all
        """What a follower is written now."""
        return self._update


class ListTopic(Topic):
    """A toplist: whole for some, by what changed for others."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ranking: Ranking | None = None
        self.deltas: set[Client] = set()

    def rank(self, ranking: Ranking) -> None:
        """The newest ranking."""
        self.version, self.ranking = ranking.version, ranking

    def forget(self) -> None:
        """What was ranked was of another list: begin anew, for followers as well."""
        self.version, self.ranking = 0, None
        self.followers = dict.fromkeys(self.followers, 0)

    def leave(self, client: Client) -> None:
        """Somebody follows no more."""
        super().leave(client)
        self.deltas.discard(client)

    def update_for(self, client: Client) -> Update | None:
        """What a follower is written now."""
        if self.ranking is None:
            return None
        return self.ranking.for_client(self.followers[client], client in self.deltas)
