"""The newest ranking of a list: whole for who begins, what changed for who has the one before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from runtime.gateway.updates import Update
from runtime.shapes import Listed, rfc3339

Row = dict[str, Any]


@dataclass
class Ranking:
    """One update of a list. Each of its messages is made once, when the first client wants it.

    version   counts what this gateway heard of the list, whatever the numbers of the wire say
    before    the rows of the update before; None = it was not heard
    """

    name: str
    listed: Listed
    version: int
    before: list[Row] | None = None

    @property
    def kind(self) -> str:
        """`user` or `system`."""
        return "user" if self.listed.key.startswith("toplist:user:") else "system"

    def is_of(self, user: str) -> bool:
        """Whether it is the list of this user."""
        return self.listed.key == f"toplist:user:{user}:{self.name}"

    @property
    def rows(self) -> list[Row]:
        """The ranks, first to last."""
        return self.listed.rows

    @cached_property
    def whole(self) -> Update:
        """The update as every client of the wire contract knows it."""
        return self._update({"rankings": self.rows})

    @cached_property
    def snapshot(self) -> Update:
        """The same for a client that takes deltas from here on."""
        return self._update({"snapshot": True, "rankings": self.rows, "gone": []})

    @cached_property
    def delta(self) -> Update:
        """The rows that differ from those before, and the symbols that are no more."""
        before = {row["symbol"]: row for row in self.before or ()}
        changed = [row for row in self.rows if before.get(row["symbol"]) != row]
        gone = sorted(before.keys() - {row["symbol"] for row in self.rows})
        return self._update({"snapshot": False, "rankings": changed, "gone": gone})

    def _update(self, more: Row) -> Update:
        told = {
            "toplist_id": self.name,
            "toplist_type": self.kind,
            **more,
            "timestamp": rfc3339(self.listed.ts_ns),
            "seq": self.listed.number or self.version,
        }
        return Update({"type": "toplist_update", "data": told})

    def for_client(self, sent: int, is_delta: bool) -> Update:
        """What a client is written that was sent version `sent` before; 0 = nothing yet."""
        if not is_delta:
            return self.whole
        is_next = sent and sent == self.version - 1 and self.before is not None
        return self.delta if is_next else self.snapshot


def follow(name: str, before: Ranking | None, listed: Listed) -> Ranking | None:
    """The ranking after the one before; None for an update that was heard already."""
    if before is None:
        return Ranking(name, listed, 1)
    old, number = before.listed, listed.number
    if number and number <= old.number and listed.ts_ns <= old.ts_ns:
        return None  # said again after a take-over
    is_next = not number or number == old.number + 1
    return Ranking(name, listed, before.version + 1, before.rows if is_next else None)
