"""Who owns which partition: members that answer, a fair share for each, epochs by compare-and-set.

Liveness is separate from safety. A member is judged by a probe that its own event loop answers; a
wrong judgement costs a hand-over, never a wrong output, because every output is fenced and every
take-over is a compare-and-set on the epoch that was judged dead.

What the probe says          what becomes of the member's partitions
answers                      they stay; it gives up itself what is another's share
nobody there, twice          taken over at once
silence for SILENT_S         taken over
released by its owner        taken by the member whose share they are
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, Closed, Kv, Listener, Message, NobodyThere, Refused, Silence
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

ANNOUNCE_S = 0.2
PROBE_S = 0.1
PROBE_TIMEOUT_S = 0.5
CONFIRM_S = 0.05  # a member that reconnects looks absent for a moment
SILENT_S = 1.5
GRACE_S = 2.0  # after our own reconnect or stall everybody else looks absent
STALL_S = 0.7

Unit = tuple[str, int | None]  # chain and partition


def unit_key(unit: Unit) -> str:
    """The key of a unit in the `owners` and `snapshots` buckets."""
    chain, partition = unit
    return f"{chain}.{'all' if partition is None else partition}"


def declared_units(subjects: Subjects) -> set[str]:
    """The keys of the units that subjects.yaml names; functions may add chains of their own."""
    return {
        unit_key((name, partition))
        for name, chain in subjects.chains.items()
        for partition in ([None] if chain.partitions == 1 else range(subjects.partitions))
    }


def consumer_of(unit: Unit) -> str:
    """The durable that feeds a unit."""
    return unit_key(unit).replace(".", "-")


@dataclass(frozen=True)
class Owner:
    """An ownership: who, since which epoch, and how often owners died without getting on."""

    worker: str  # empty: released
    epoch: int
    strikes: int = 0
    cursor: int = 0

    def encoded(self) -> bytes:
        return json.dumps(
            {"worker": self.worker, "strikes": self.strikes, "cursor": self.cursor}
        ).encode()


@dataclass
class Member:
    """A worker as the others see it."""

    name: str
    chains: tuple[str, ...]
    draining: bool
    answered_at: float
    announced_at: float
    dead: bool = False
    warm: dict[str, int] = field(default_factory=dict)  # unit -> epoch of the state it has read


def shares(units: Iterable[Unit], members: list[str]) -> dict[Unit, str]:
    """A fair, stable assignment: rendezvous hashing with at most ceil(units / members) each."""
    ordered = sorted(units, key=lambda unit: (unit[0], unit[1] if unit[1] is not None else -1))
    if not members:
        return {}
    most = -(-len(ordered) // len(members))
    load = dict.fromkeys(members, 0)
    assigned = {}
    for unit in ordered:
        ranked = sorted(members, key=lambda member: _score(unit, member), reverse=True)
        chosen = next(member for member in ranked if load[member] < most)
        load[chosen] += 1
        assigned[unit] = chosen
    return assigned


def _score(unit: Unit, member: str) -> bytes:
    return hashlib.blake2b(f"{unit}|{member}".encode(), digest_size=8).digest()


@dataclass
class Roll:
    """The members that are there, kept by announcements and probes."""

    bus: Bus
    name: str
    chains: tuple[str, ...] = ()
    draining: bool = False
    warm: dict[str, int] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    _listeners: list[Listener] = field(default_factory=list)
    _quiet_until: float = 0.0
    _reconnects: int = 0
    _probing: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def open(self) -> None:
        """Start to answer probes and to hear the others."""
        self._listeners.append(await self.bus.respond(f"runtime.alive.{self.name}", lambda _: b"+"))
        self._listeners.append(await self.bus.listen("runtime.members", self._heard))
        await self.bus.publish("runtime.who", b"")
        self._listeners.append(await self.bus.listen("runtime.who", self._asked))

    async def close(self) -> None:
        """Stop answering."""
        for task in self._probing.values():
            task.cancel()
        for listener in self._listeners:
            await listener.stop()

    async def announce(self) -> None:
        """Tell the others that we are there and what we host."""
        told = {"name": self.name, "chains": self.chains, "draining": self.draining}
        told["warm"] = self.warm
        await self.bus.publish("runtime.members", json.dumps(told).encode())

    async def _asked(self, _: Message) -> None:
        await self.announce()

    async def keep(self) -> None:
        """Announce and probe until cancelled."""
        before = time.monotonic()
        announced_at = 0.0
        while True:
            now = time.monotonic()
            if now - before > STALL_S or self.bus.reconnects != self._reconnects:
                self._forgive(now)
            before = now
            if self.bus.connected:
                if now - announced_at >= ANNOUNCE_S:
                    announced_at = now
                    try:
                        await self.announce()
                    except Silence as error:
                        log.warning("cannot announce", reason=str(error))
                self._probe_others()
            await asyncio.sleep(PROBE_S)

    def _forgive(self, now: float) -> None:
        """We were away: nobody is judged by what we missed."""
        self._reconnects = self.bus.reconnects
        self._quiet_until = now + GRACE_S
        for member in self.members.values():
            member.answered_at = member.announced_at = now

    def _probe_others(self) -> None:
        for name, member in list(self.members.items()):
            if member.dead and time.monotonic() - member.announced_at > 60:
                del self.members[name]
            elif name not in self._probing and not member.dead:
                task = asyncio.create_task(self._probe(member))
                self._probing[name] = task
                task.add_done_callback(partial(self._probed, name))

    def _probed(self, name: str, _: asyncio.Task[None]) -> None:
        self._probing.pop(name, None)

    async def _probe(self, member: Member) -> None:
        try:
            if await self._absent(member.name):
                await asyncio.sleep(CONFIRM_S)
                if await self._absent(member.name) and self.judging:
                    self._bury(member, "nobody there")
            else:
                member.answered_at = time.monotonic()
        except Silence:
            silent_s = time.monotonic() - member.answered_at
            if silent_s > SILENT_S and self.judging:
                self._bury(member, f"silent for {silent_s:.1f} s")
        except Closed:
            return

    async def _absent(self, name: str) -> bool:
        try:
            await self.bus.request(f"runtime.alive.{name}", timeout_s=PROBE_TIMEOUT_S)
        except NobodyThere:
            return True
        return False

    def _bury(self, member: Member, reason: str) -> None:
        if not member.dead:
            member.dead = True
            log.warning("worker judged dead", worker=member.name, reason=reason)

    @property
    def judging(self) -> bool:
        """Whether our own view can be trusted: connected, and for a while."""
        return self.bus.connected and time.monotonic() > self._quiet_until

    def _heard(self, message: Message) -> None:
        told: dict[str, Any] = json.loads(message.data)
        name = told["name"]
        if name == self.name:
            return
        now = time.monotonic()
        member = self.members.get(name)
        if member is None or member.dead:
            member = self.members[name] = Member(name, (), False, now, now)
            log.info("worker seen", worker=name)
        member.chains = tuple(told["chains"])
        member.draining = bool(told["draining"])
        member.warm = told.get("warm", {})  # a worker of another version may not tell
        member.announced_at = member.answered_at = now

    def hosts_of(self, chain: str) -> list[str]:
        """The members a chain's partitions are shared among, ourselves included."""
        there = [
            member.name
            for member in self.members.values()
            if not member.dead and not member.draining and chain in member.chains
        ]
        mine = [self.name] if chain in self.chains and not self.draining else []
        return sorted(there + mine)

    def warm_epoch(self, name: str, unit: Unit) -> int | None:
        """Whose snapshot of a unit a member has read in advance."""
        member = self.members.get(name)
        return member.warm.get(unit_key(unit)) if member else None

    async def is_dead(self, name: str) -> bool:
        """Whether an owner is gone; one never heard of is asked."""
        member = self.members.get(name)
        if member is None:
            now = time.monotonic()
            self.members[name] = Member(name, (), False, now, now)
            return False
        return member.dead and self.judging


class Owners:
    """The `owners` bucket: one key per unit, its revision is the epoch."""

    def __init__(self, bus: Bus) -> None:
        self._kv: Kv = bus.kv("owners")

    async def get(self, unit: Unit) -> Owner | None:
        """The present ownership, from the leader."""
        entry = await self._kv.get(unit_key(unit))
        return _owner(entry.value, entry.revision) if entry else None

    async def all(self) -> dict[str, Owner]:
        """Every ownership by key; may lag a moment."""
        entries = await self._kv.all()
        return {key: _owner(entry.value, entry.revision) for key, entry in entries.items()}

    async def take(self, unit: Unit, judged: Owner | None, claim: Owner) -> Owner | None:
        """Claim a unit on the epoch that was judged dead or released; None if somebody was faster."""
        key = unit_key(unit)
        try:
            if judged is None:
                epoch = await self._kv.create(key, claim.encoded())
            else:
                epoch = await self._kv.update(key, claim.encoded(), judged.epoch)
        except Refused:
            # Our own write may have been stored before an answer was lost: look.
            present = await self.get(unit)
            if (
                present
                and present.worker == claim.worker
                and present.epoch > (judged.epoch if judged else 0)
            ):
                return present
            return None
        return Owner(claim.worker, epoch, claim.strikes, claim.cursor)

    async def release(self, unit: Unit, held: Owner) -> None:
        """Give a unit up; a newer owner is left alone."""
        try:
            freed = Owner("", 0, 0, held.cursor)
            await self._kv.update(unit_key(unit), freed.encoded(), held.epoch)
        except Refused:
            log.info("released unit had a newer owner", unit=unit_key(unit))

    async def hints(self, callback: Any) -> Listener:
        """Call `callback(key)` when an ownership may have changed."""
        return await self._kv.hints(callback)


def _owner(value: bytes, epoch: int) -> Owner:
    told = json.loads(value)
    return Owner(told["worker"], epoch, told["strikes"], told["cursor"])
