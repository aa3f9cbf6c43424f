"""The third door to Redis: answers about what is over, which all gateways may give again for a while.

    answer:{key}   bytes, gone after a minute

Redis may be away or slow: then there is no answer, nobody waits, and it is asked again some seconds later.
"""

from __future__ import annotations

import time

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from runtime import telemetry

log = telemetry.get_logger(__name__)

KEPT_S = 60
ANSWER_S = 0.05  # a database answers a day of bars in less
PING_S = 2.0
REST_S = 5.0  # that a Redis which does not answer is left alone
BYTES_MAX = 1 << 20


class Answers:
    """Answers kept in Redis; without an address none is."""

    def __init__(self, url: str) -> None:
        self._redis = (
            aioredis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
            if url
            else None
        )
        self._rests_until_s = 0.0

    async def get(self, key: str) -> bytes | None:
        """What was kept; None for nothing, also where Redis is away."""
        if self._redis is None or time.monotonic() < self._rests_until_s:
            return None
        try:
            found = await self._redis.get(f"answer:{key}")
        except (RedisError, OSError, TimeoutError) as error:
            self._leave_alone(error)
            return None
        return found if isinstance(found, bytes) else None

    async def keep(self, key: str, answer: bytes) -> None:
        """Keep an answer, where that can be."""
        is_resting = time.monotonic() < self._rests_until_s
        if self._redis is None or is_resting or len(answer) > BYTES_MAX:
            return
        try:
            await self._redis.set(f"answer:{key}", answer, ex=KEPT_S)
        except (RedisError, OSError, TimeoutError) as error:
            self._leave_alone(error)

    def _leave_alone(self, error: Exception) -> None:
        log.warning("answers are not shared: Redis is away", reason=str(error))
        self._rests_until_s = time.monotonic() + REST_S

    async def close(self) -> None:
        """End the connection."""
        if self._redis is not None:
            await self._redis.aclose()


async def ping(url: str) -> float:
    """How long Redis takes to answer, in seconds; raises OSError."""
    began = time.perf_counter()
    client = aioredis.Redis.from_url(url, socket_timeout=PING_S, socket_connect_timeout=PING_S)
    try:
        await client.ping()
    except RedisError as error:
        raise OSError(str(error)) from error
    finally:
        await client.aclose()
    return time.perf_counter() - began
