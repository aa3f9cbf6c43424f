"""The second door to Redis: how much of a limit was used, counted once for all gateways.

    limit:{name}:{key}   when the limit would be untouched again, in microseconds; gone by then

The generic cell rate algorithm in one script, by the server's clock: nothing is read and then written,
so that requests that come at once cannot pass together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from runtime import telemetry

log = telemetry.get_logger(__name__)

ANSWER_S = 0.25  # a Redis that takes longer is away: a sign-in waits for it
SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, depth, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local before = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local after = before + step * cost
if after - now > depth then
    if ARGV[4] == '0' then return {0, before - now} end
    after = now + math.min(after - now, depth * 2)
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return {1, after - now}
"""


@dataclass(frozen=True)
class Charge:
    """What is taken from a limit.

    step_s     of one request at the limit's rate
    depth_s    how far ahead of its rate a key may be
    is_spent   it was used already: it is counted also where it is too much
    """

    key: str
    step_s: float
    depth_s: float
    cost: int
    is_spent: bool


class SharedLimits:
    """Limits in Redis; without an address nothing is shared."""

    def __init__(self, url: str) -> None:
        self._redis = (
            aioredis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
            if url
            else None
        )
        self._is_away = False

    @property
    def is_set_up(self) -> bool:
        """Whether there is a Redis at all."""
        return self._redis is not None

    async def charge(self, charges: Sequence[Charge]) -> list[tuple[bool, float]] | None:
        """Whether each was let through, and how many seconds its key is ahead; None: Redis is away."""
        if self._redis is None or not charges:
            return None
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for one in charges:
                    step, depth = int(one.step_s * 1e6), int(one.depth_s * 1e6)
                    values = (step, depth, one.cost, int(one.is_spent))
                    pipe.eval(SCRIPT, 1, f"limit:{one.key}", *values)
                told = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            if not self._is_away:
                log.warning("limits are counted here alone: Redis is away", reason=str(error))
            self._is_away = True
            return None
        self._is_away = False
        return [(bool(is_let), ahead / 1e6) for is_let, ahead in told]

    async def close(self) -> None:
        """End the connection."""
        if self._redis is not None:
            await self._redis.aclose()
