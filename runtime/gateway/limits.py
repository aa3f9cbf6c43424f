"""How often somebody may ask: counted here at once, and with the other gateways a moment later.

A request never waits for Redis: it is let through by what this process knows, and every SHARE_S what was
let through is charged in Redis, which answers how much all gateways together have let through. What is
rare and must be exact (signing in) is charged there before it is done. Without Redis each gateway counts
for itself.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from runtime.redis_limits import Charge, SharedLimits

SHARE_S = 0.1
KEYS_MAX = 50_000  # of 100 bytes; beyond it the oldest are forgotten
SHARED_MAX = 2_000  # keys charged at once


@dataclass(frozen=True)
class Limit:
    """A rate, and how many may come at once."""

    name: str
    per_s: float
    burst: int

    @property
    def step_s(self) -> float:
        """Of one request at the rate."""
        return 1 / self.per_s

    @property
    def depth_s(self) -> float:
        """How far ahead of its rate a key may be."""
        return self.burst / self.per_s


@dataclass(frozen=True)
class Verdict:
    """What a limit says to one request."""

    is_let: bool
    limit: Limit
    ahead_s: float

    @property
    def left(self) -> int:
        """How many more may come at once."""
        return max(0, int((self.limit.depth_s - self.ahead_s) / self.limit.step_s + 1e-6))

    @property
    def wait_s(self) -> float:
        """After this long one more is let through."""
        return max(0.0, self.ahead_s + self.limit.step_s - self.limit.depth_s)


class Limits:
    """Every limit of a gateway."""

    def __init__(self, redis_url: str) -> None:
        self._shared = SharedLimits(redis_url)
        self._until: dict[str, float] = {}  # by key: when it would be untouched again
        self._spent: dict[str, tuple[Limit, int]] = {}  # since it was last told

    def take(self, limit: Limit, key: str) -> Verdict:
        """Let one request through or not, by what this process knows."""
        name, now = f"{limit.name}:{key}", time.monotonic()
        ahead_s = max(self._until.get(name, 0.0) - now, 0.0)
        if ahead_s + limit.step_s > limit.depth_s + 1e-9:
            return Verdict(False, limit, ahead_s)
        self._set(name, now + ahead_s + limit.step_s)
        if self._shared.is_set_up and len(self._spent) < KEYS_MAX:
            self._spent[name] = (limit, self._spent.get(name, (limit, 0))[1] + 1)
        return Verdict(True, limit, ahead_s + limit.step_s)

    async def take_shared(self, limit: Limit, key: str) -> Verdict:
        """The same by what all gateways know; where Redis is away by what this one knows."""
        charge = Charge(f"{limit.name}:{key}", limit.step_s, limit.depth_s, 1, False)
        told = await self._shared.charge([charge])
        if told is None:
            return self.take(limit, key)
        ((is_let, ahead_s),) = told
        self._set(charge.key, max(self._until.get(charge.key, 0.0), time.monotonic() + ahead_s))
        return Verdict(is_let, limit, ahead_s)

    async def keep(self) -> None:
        """Share what was let through, until cancelled."""
        while True:
            await asyncio.sleep(SHARE_S)
            await self.share()

    async def share(self) -> None:
        """Tell Redis what was let through here, and learn what was elsewhere."""
        names = list(self._spent)[:SHARED_MAX]
        spent = {name: self._spent.pop(name) for name in names}
        charges = [
            Charge(name, limit.step_s, limit.depth_s, cost, True)
            for name, (limit, cost) in spent.items()
        ]
        told = await self._shared.charge(charges)
        if told is None:
            return
        now = time.monotonic()
        for charge, (_, ahead_s) in zip(charges, told, strict=True):
            meanwhile = self._spent.get(charge.key, (None, 0))[1] * charge.step_s
            until = now + ahead_s + meanwhile
            self._set(charge.key, max(self._until.get(charge.key, 0.0), until))

    async def close(self) -> None:
        """End the connection."""
        await self._shared.close()

    def _set(self, name: str, until: float) -> None:
        self._until.pop(name, None)  # so that the dictionary is in order of use
        self._until[name] = until
        while len(self._until) > KEYS_MAX:
            del self._until[next(iter(self._until))]
