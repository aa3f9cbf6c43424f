"""The symbols that feeds were asked to follow or to leave while they run: kept in a bucket, told and asked over NATS.

    who                                  does
    `jetscan universe`, the gateway      write what was asked into the bucket, by compare-and-set
    ingest                               reads it when a key changes, and every READ_S, and tells its feeds
    anybody                              asks on `runtime.universe` what each feed wants and has

What was asked last of a symbol counts; of all feeds: also what was asked of one before.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, BusError, Entry, Message, Refused
from runtime.providers import Provider
from runtime.providers.symbols import is_test, normal
from runtime.providers.universe import ALL, Universe

log = telemetry.get_logger(__name__)

BUCKET, KEY = "universe", "asked"
SUBJECT = "runtime.universe"
EVERY_FEED = ""
SYMBOLS_MAX = 10_000  # added and removed together: one value of the bucket, and one answer
SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./ -]{0,31}")
SOURCE = re.compile(r"[\x21-\x7e]{1,64}")
READ_S = 10.0  # a change whose hint was lost is seen then
SETTLED_S = 0.2
TRIES = 8
NO_CHANGES = "never: its symbols stand in its URL"


class UniverseError(ValueError):
    """What cannot be asked of feeds; the text says what was expected."""


@dataclass(frozen=True)
class Asked:
    """What was asked of one feed, or of all, in the order in which it was asked."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    def changed(self, add: Sequence[str], remove: Sequence[str]) -> Asked:
        """The same after more was asked."""
        named = {*add, *remove}
        added, removed = (
            tuple(one for one in before if one not in named) + tuple(now)
            for before, now in ((self.add, add), (self.remove, remove))
        )
        return Asked(added, removed)


@dataclass(frozen=True)
class Wishes:
    """What was asked, by feed; that of all of them under an empty name."""

    of: dict[str, Asked] = field(default_factory=dict)

    def changed(self, add: Sequence[str], remove: Sequence[str], source: str = "") -> Wishes:
        """The same after more was asked; raises UniverseError."""
        both = sorted({*add} & {*remove})
        if both:
            raise UniverseError(f"{both[0]}: expected in add or in remove, found in both")
        of = dict(self.of)
        if source == EVERY_FEED:
            named = {*add, *remove}
            of = {name: _without(asked, named) for name, asked in of.items()}
        of[source] = of.get(source, Asked()).changed(add, remove)
        count = sum(len(one.add) + len(one.remove) for one in of.values())
        if count > SYMBOLS_MAX:
            raise UniverseError(
                f"expected at most {SYMBOLS_MAX} symbols added and removed since the last reset, "
                f"found {count}"
            )
        return Wishes({name: one for name, one in of.items() if one.add or one.remove})

    def for_feed(self, source: str) -> Asked:
        """What counts for one feed."""
        own = self.of.get(source, Asked())
        return self.of.get(EVERY_FEED, Asked()).changed(own.add, own.remove)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            name: {"add": list(one.add), "remove": list(one.remove)}
            for name, one in self.of.items()
        }


def _without(asked: Asked, named: set[str]) -> Asked:
    add, remove = (
        tuple(one for one in symbols if one not in named) for symbols in (asked.add, asked.remove)
    )
    return Asked(add, remove)


def spelled(symbols: Iterable[str]) -> list[str]:
    """Symbols as they are spelled here, each once; raises UniverseError for what is none."""
    return list(dict.fromkeys(_spelled(one) for one in symbols))


def _spelled(text: str) -> str:
    symbol = text.strip()
    if symbol == ALL:
        return symbol
    found = normal(symbol)
    found = normal(symbol.upper()) if found == symbol else found
    if not SYMBOL.fullmatch(found):
        raise UniverseError(f"expected a symbol such as AAPL, BRK.B or BTC-USD, found {text!r:.80}")
    if is_test(found):
        raise UniverseError(f"{found}: exchanges test with it; it is left out of every feed")
    return found


def checked_source(source: str) -> str:
    """The name of a feed, or of all; raises UniverseError."""
    if source and not SOURCE.fullmatch(source):
        raise UniverseError(f"source: expected a feed such as alpaca://sip, found {source!r:.80}")
    return source


# -- asking


async def change(
    bus: Bus, add: Iterable[str], remove: Iterable[str], source: str = EVERY_FEED
) -> Wishes:
    """Have feeds follow symbols and leave others, now and after a restart; raises UniverseError, BusError."""
    added, removed, name = spelled(add), spelled(remove), checked_source(source)
    if not added and not removed:
        raise UniverseError("expected symbols to add or to remove, found none")
    kv = bus.kv(BUCKET)
    for _ in range(TRIES):
        revision = await kv.revision(KEY)
        entry = await kv.get(KEY)
        if entry is not None and entry.revision != revision:
            continue
        wishes = _read(entry).changed(added, removed, name)
        with contextlib.suppress(Refused):
            await kv.update(KEY, json.dumps(wishes.told()).encode(), revision)
            return wishes
    raise BusError("the universe is changed by others all the time; try again")


async def reset(bus: Bus) -> None:
    """Have every feed follow what its URL says."""
    await bus.kv(BUCKET).delete(KEY)


async def wishes_of(bus: Bus) -> Wishes:
    """What was asked; raises BusError, UniverseError where somebody wrote something else."""
    return _read(await bus.kv(BUCKET).get(KEY))


async def feeds_of(bus: Bus) -> list[dict[str, Any]]:
    """What the feeds that run tell of themselves, by name."""
    told = [feed for one in await bus.gather(SUBJECT) for feed in json.loads(one.data)["feeds"]]
    return sorted(told, key=lambda feed: str(feed["source"]))


def check(feeds: Sequence[dict[str, Any]], add: Sequence[str], source: str) -> list[str]:
    """The feeds that take a change, as far as feeds run; raises UniverseError where none does.

    add   as they are spelled here
    """
    if not feeds:
        return []
    taking = [one for one in feeds if source in (EVERY_FEED, one["source"])]
    if not taking:
        names = ", ".join(one["source"] for one in feeds)
        raise UniverseError(f"no feed {source!r:.80} runs; there are {names}")
    taking = [one for one in taking if one["changes"] != NO_CHANGES]
    if not taking:
        raise UniverseError("the symbols of feeds that are made up or recorded stand in their URL")
    for symbol in add:
        if not any(re.fullmatch(one["carries"], symbol) for one in taking):
            names = ", ".join(one["source"] for one in taking)
            raise UniverseError(f"{symbol}: expected a symbol that one of {names} can carry")
    return [one["source"] for one in taking]


def _read(entry: Entry | None) -> Wishes:
    if entry is None:
        return Wishes()
    try:
        told = json.loads(entry.value)
        return Wishes(
            {
                checked_source(name): Asked(
                    tuple(spelled(one["add"])), tuple(spelled(one["remove"]))
                )
                for name, one in told.items()
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UniverseError(
            f'{BUCKET}/{KEY}: expected {{"": {{"add": [...], "remove": [...]}}}}: {error}'
        ) from error


# -- following


class Follower:
    """Tells the feeds of one ingest what is asked of them, and others what they follow."""

    def __init__(self, bus: Bus, providers: Sequence[Provider]) -> None:
        self._bus = bus
        self._universes, self._fixed = _named(providers)
        self._changed = asyncio.Event()
        self._is_told = False

    async def read(self) -> None:
        """Tell the feeds what is asked now; where that cannot be read they go on as they are."""
        try:
            wishes = await wishes_of(self._bus)
        except (BusError, UniverseError) as error:
            if not self._is_told:
                log.error("the universe cannot be read; feeds stay as they are", reason=str(error))
            self._is_told = True
            return
        self._is_told = False
        for universe in self._universes:
            asked = wishes.for_feed(universe.source)
            universe.ask(asked.add, asked.remove)

    async def keep(self) -> None:
        """Answer and follow until cancelled."""
        listeners = [
            await self._bus.respond(SUBJECT, self._answer),
            await self._bus.kv(BUCKET).hints(lambda _: self._changed.set()),
        ]
        try:
            while True:
                await self.read()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(READ_S):
                        await self._changed.wait()
                if self._changed.is_set():
                    self._changed.clear()
                    await self.read()
                    await asyncio.sleep(SETTLED_S)  # a hint may be earlier than what it hints at
        finally:
            for listener in listeners:
                await listener.stop()

    def _answer(self, _: Message) -> bytes:
        feeds = [*(one.told() for one in self._universes), *map(_fixed, self._fixed)]
        return json.dumps({"feeds": feeds}).encode()


def _named(providers: Sequence[Provider]) -> tuple[list[Universe], list[str]]:
    """The universes of feeds that have one, each with a name of its own, and the names of the others."""
    universes, fixed, seen = [], [], Counter[str]()
    for provider in providers:
        universe = getattr(provider, "universe", None)
        name = provider.name if universe is None else universe.source
        seen[name] += 1
        name = f"{name}#{seen[name]}" if seen[name] > 1 else name
        if universe is None:
            fixed.append(name)
        else:
            universe.source = name
            universes.append(universe)
    return universes, fixed


def _fixed(name: str) -> dict[str, Any]:
    told: dict[str, Any] = {"source": name, "carries": "", "changes": NO_CHANGES}
    return told | {"acknowledged": [], "unanswered": [], "refused": []}
