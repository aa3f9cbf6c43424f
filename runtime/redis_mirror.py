"""The first door to Redis: toplists mirrored for readers outside, lost without harm and written again.

    toplist:{metric}:{window}  toplist:user:{user}:{id}   sorted sets, value by symbol, gone after 300 s
    toplist:config:{id}                                   a list as JSON, gone after an hour

Lists that share a key (gainers and losers of one metric and window) are one sorted set with the symbols
of both: its head are the first, its tail the last.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from redis import asyncio as aioredis
from redis.exceptions import RedisError

from runtime import telemetry
from runtime.chain import Output

log = telemetry.get_logger(__name__)

SUBJECT = "toplists.updated"
WRITE_S = 1.0
RANK_TTL_S = 300
CONFIG_TTL_S = 3600
ANSWER_S = 2.0  # a Redis that takes longer is away


class _Mirror:
    """Keys to write, and the connection they go over; without an address nothing is kept."""

    def __init__(self, url: str) -> None:
        self._redis = (
            aioredis.Redis.from_url(url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
            if url
            else None
        )
        self._is_away = False
        self._changed: set[str] = set()

    def _known(self) -> set[str]:
        """Every key there should be."""
        raise NotImplementedError

    def _write(self, pipe: Any, key: str) -> None:
        """Put what a key should hold into a pipeline."""
        raise NotImplementedError

    async def keep(self) -> None:
        """Write what changed once a second, until cancelled."""
        while self._redis is not None:
            await self.flush()
            await asyncio.sleep(WRITE_S)

    async def flush(self) -> None:
        """Write what changed, in one go; a Redis that is away is told everything when it is back."""
        keys = self._changed
        if self._redis is None or not keys:
            return
        self._changed = set()
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                for key in sorted(keys):
                    self._write(pipe, key)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._changed |= keys
            self._lost(error)
            return
        if self._is_away:
            self._is_away = False
            self._changed |= self._known()  # it may have begun anew
            log.info("Redis is back")

    def _lost(self, error: Exception) -> None:
        if not self._is_away:
            log.warning("toplists are not mirrored: Redis is away", reason=str(error))
        self._is_away = True

    async def close(self) -> None:
        """End the connection."""
        if self._redis is not None:
            await self._redis.aclose()


class RankMirror(_Mirror):
    """The newest ranking of every list, as sorted sets."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._lists: dict[str, dict[str, dict[str, float]]] = {}  # key -> list -> symbol -> value

    def note(self, output: Output) -> None:
        """Remember the rankings of an output; rank 0 is shown no more."""
        frame = output.frame
        if self._redis is None or output.base != SUBJECT or frame is None or "key" not in frame:
            return
        for name in dict.fromkeys(frame["list"]):
            mine = frame[frame["list"] == name]
            key = str(mine["key"][0])
            if not key:
                continue
            shown = mine[mine["rank"] > 0]
            ranks = dict(zip(shown["symbol"].tolist(), shown["value"].tolist(), strict=True))
            lists = self._lists.setdefault(key, {})
            lists[str(name)] = ranks
            if not any(lists.values()):
                del self._lists[key]
            self._changed.add(key)

    def _known(self) -> set[str]:
        return set(self._lists)

    def _write(self, pipe: Any, key: str) -> None:
        values: dict[str, float] = {}
        for ranks in self._lists.get(key, {}).values():
            values.update(ranks)
        pipe.delete(key)
        if values:
            pipe.zadd(key, values)
            pipe.expire(key, RANK_TTL_S)


class ConfigMirror(_Mirror):
    """The configuration of every list, as JSON."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._configs: dict[str, dict[str, Any]] = {}
        self._said_at = 0.0

    def note(self, configs: dict[str, dict[str, Any]]) -> None:
        """These are all the lists there are."""
        if self._redis is None:
            return
        told = {f"toplist:config:{name}": one for name, one in configs.items()}
        self._changed |= {k for k in self._configs | told if self._configs.get(k) != told.get(k)}
        self._configs = told

    async def keep(self) -> None:
        """Write what changed, and before their hour is over all of them, until cancelled."""
        clock: Callable[[], float] = asyncio.get_running_loop().time
        self._said_at = clock()
        while self._redis is not None:
            if clock() - self._said_at > CONFIG_TTL_S / 2:
                self._changed |= self._known()
                self._said_at = clock()
            await self.flush()
            await asyncio.sleep(WRITE_S)

    def _known(self) -> set[str]:
        return set(self._configs)

    def _write(self, pipe: Any, key: str) -> None:
        if key in self._configs:
            pipe.set(key, json.dumps(self._configs[key]), ex=CONFIG_TTL_S)
        else:
            pipe.delete(key)
