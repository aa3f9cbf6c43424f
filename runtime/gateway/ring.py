"""The newest alerts, by number: what clients resume from."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from runtime.gateway.updates import Update

RING_MAX = 100_000  # alerts held for resuming: about 60 MB


@dataclass
class Held:
    """One alert in the ring."""

    alert: dict[str, Any]
    heard_at: float = field(default_factory=time.monotonic)

    @cached_property
    def live(self) -> Update:
        """As it is told at once."""
        return Update({"type": "alert", "data": self.alert})

    @cached_property
    def late(self) -> Update:
        """As it is told to who was away."""
        return Update({"type": "alert", "late": True, "data": self.alert})


class Ring:
    """Alerts in the order of their numbers."""

    def __init__(self) -> None:
        self._held: OrderedDict[int, Held] = OrderedDict()

    @property
    def newest(self) -> int:
        """The number of the newest alert; 0 = there is none."""
        return next(reversed(self._held)) if self._held else 0

    @property
    def oldest(self) -> int:
        """The number of the oldest alert held."""
        return next(iter(self._held)) if self._held else 1

    def add(self, alert: dict[str, Any]) -> bool:
        """Hold an alert; False for one that was heard before."""
        number = alert["seq"]
        if number <= self.newest:
            return False
        self._held[number] = Held(alert)
        if len(self._held) > RING_MAX:
            self._held.popitem(last=False)
        return True

    def get(self, number: int) -> Held | None:
        """An alert by its number."""
        return self._held.get(number)

    def newest_first(self) -> Iterator[dict[str, Any]]:
        """The alerts held."""
        return (held.alert for held in reversed(self._held.values()))
