"""One worker process: which units are mine, host them, give them up, and end when something is beyond repair."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime import telemetry
from runtime.bus import Bus, BusError, Closed, Listener, Message, NobodyThere, Silence
from runtime.chain import Output
from runtime.config import Settings
from runtime.couriers import CourierHost
from runtime.handover import Warmth
from runtime.host import Contested, Fenced, Limits, PartitionHost, saved_cursor
from runtime.latest import Latest
from runtime.loader import ChainPlan, Fault, Hosted, Plan, load_plan
from runtime.outbound import Outbound
from runtime.ownership import Owner, Owners, Roll, Unit, shares, unit_key
from runtime.redis_mirror import RankMirror
from runtime.sinks import SinkHost
from runtime.store import Store
from runtime.subjects import Subjects
from runtime.watchdog import Watchdog

log = telemetry.get_logger(__name__)

LOOK_S = 0.1
REFRESH_S = 2.0  # ownerships are read again this often even without a hint
RETRY_HOST_S = 1.0
PAUSE_PREFIX = "pause"
SETTLED_S = 0.3  # a hint may be here before the bucket has what it is about: read once more
HINT_AGAIN_S = (0.02, SETTLED_S)
PATIENCE_S = (
    10.0  # a unit goes to a successor that has not read its state after so long without any
)
# SIGTERM: what Kubernetes gives is 30 s. Then everything left is given up at once, and saved.
HAND_OVER_S = 18.0
SAVE_S = 8.0


@dataclass
class _Running:
    """A hosted unit and its task."""

    host: PartitionHost
    task: asyncio.Task[None]


@dataclass
class _Warming:
    """A unit that is awaited, and the task that reads its state."""

    warmth: Warmth
    task: asyncio.Task[None]


@dataclass
class Faults:
    """What is wrong with the functions on disk, for `jetscan functions` and the page."""

    found: tuple[Fault, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)  # chain -> why its new version is not run


class Worker:
    """Hosts a fair share of the units of the chosen functions until told to stop."""

    def __init__(
        self,
        settings: Settings,
        subjects: Subjects,
        bus: Bus,
        control: Bus,
        chosen: Iterable[str] = (),
        name: str = "",
        only_sinks: bool = False,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.plan = Plan()
        self.faults = Faults()
        self._settings = settings
        self._subjects = subjects
        self._bus = bus
        self._control = control
        self._chosen = frozenset(chosen)
        self._only_sinks = only_sinks
        self._roll = Roll(control, self.name)
        self._owners = Owners(control)
        self._owned: dict[str, Owner] = {}
        self._running: dict[Unit, _Running] = {}
        self._sinks: dict[str, _SinkRunning] = {}
        self._store = Store(settings.database_url) if settings.database_url else None
        self._paused: set[str] = set()
        self._is_open = False
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._failed_at: dict[Unit, float] = {}
        self._warming: _Warming | None = None
        self._gave_up_at = 0.0
        self._listeners: list[Listener] = []
        self._latest = Latest(bus, subjects)
        self._mirror = RankMirror(settings.redis_url)
        self._watchdog = Watchdog(settings.handler_timeout_s)
        self._limits = Limits(settings.snapshot_interval_s, settings.tries_max)
        self._outbound = Outbound(settings)

    # -- what is hosted

    def load(self) -> None:
        """Read `functions/`; a chain whose new version is broken keeps its last good one."""
        overrides = self._settings.functions
        plan = load_plan(Path(self._settings.functions_dir), self._subjects, overrides)
        for fault in plan.faults:
            log.error("function refused", file=fault.file, line=fault.line, reason=fault.message)
        broken = {Path(fault.file).resolve() for fault in plan.faults}
        self.plan = self._with_last_good(plan, broken)
        self.faults = Faults(plan.faults, {})
        units = [chain for chain in self.plan.chains if self._is_chosen(chain)]
        self._roll.chains = tuple(chain.name for chain in units)
        for running_unit, running in self._running.items():
            chain = self._chain(running_unit[0])
            if chain is not None and chain.version != running.host.plan.version:
                running.host.reload(chain)
        self._changed.set()

    def _with_last_good(self, plan: Plan, broken: set[Path]) -> Plan:
        """The new plan, with the old version of every chain and sink that a broken file belongs to."""
        if not broken:
            return plan

        def hurt(functions: Iterable[Hosted]) -> bool:
            return any(Path(one.file).resolve() in broken for one in functions)

        kept = {chain.name: chain for chain in self.plan.chains if hurt(chain.functions)}
        chains = [kept.pop(chain.name, chain) for chain in plan.chains]
        sinks = [one for one in self.plan.sinks if hurt([one])]
        return Plan(
            (*chains, *kept.values()),
            (*(one for one in plan.sinks if not hurt([one])), *sinks),
            plan.faults,
        )

    def _chain(self, name: str) -> ChainPlan | None:
        return next((chain for chain in self.plan.chains if chain.name == name), None)

    def _is_chosen(self, chain: ChainPlan) -> bool:
        if self._only_sinks:
            return False
        names = {chain.name, *(one.name for one in chain.functions)}
        return not self._chosen or bool(names & self._chosen)

    # -- the life of the process

    async def run(self) -> None:
        """Host until `stop`; then hand everything over. Raises Closed when NATS is gone for good."""
        self.load()
        gc.freeze()  # a full collection looks at all modules ever imported: 60 ms without an alert
        await self._roll.open()
        self._is_open = True
        self._listeners = [
            await self._owners.hints(self._owners_changed),
            await self._control.respond("runtime.status", self._status),
            await self._control.kv("functions").hints(self._reread_paused),
        ]
        await self._read_paused()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._roll.keep()),
                    group.create_task(self._manage(group)),
                    group.create_task(self._latest.keep()),
                    group.create_task(self._mirror.keep()),
                    group.create_task(self._end_with(self._bus)),
                    group.create_task(self._end_with(self._control)),
                ]
                await self._stopping.wait()
                await self._hand_over()
                for task in tasks:
                    task.cancel()
        finally:
            self._watchdog.stop()
            await self._outbound.close()
            await self._mirror.close()
            for listener in self._listeners:
                await listener.stop()
            await self._roll.close()
            if self._store is not None:
                await self._store.close()

    @property
    def is_ready(self) -> bool:
        """Whether it takes its share: functions are loaded, both connections stand, it does not end."""
        is_connected = self._bus.connected and self._control.connected
        return self._is_open and is_connected and not self._stopping.is_set()

    def stop(self) -> None:
        """Hand over and end."""
        self._stopping.set()

    async def _end_with(self, bus: Bus) -> None:
        await bus.closed.wait()
        raise Closed(
            "the connection to NATS is closed for good; the supervisor starts a new process"
        )

    async def _hand_over(self) -> None:
        """Give every unit to a successor that has its state; after HAND_OVER_S, or without one, at once."""
        self._roll.draining = True
        self._stop_warming()
        with contextlib.suppress(BusError):
            await self._roll.announce()
        for sink in self._sinks.values():
            sink.host.drain()
        until = time.monotonic() + HAND_OVER_S
        self._gave_up_at = time.monotonic()
        while self._running and time.monotonic() < until:
            for unit in list(self._running):
                self._give_up(unit, self._successor(unit))
            await asyncio.sleep(LOOK_S / 2)
        for running in self._running.values():
            running.host.drain()
        tasks = [running.task for running in self._running.values()]
        tasks += [sink.task for sink in self._sinks.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=SAVE_S)
            for task in late:
                task.cancel()
        log.info("worker handed over", worker=self.name)

    def _successor(self, unit: Unit) -> str | None:
        chain = self._chain(unit[0])
        if chain is None:
            return None
        units = [(chain.name, partition) for partition in chain.partitions]
        return shares(units, self._roll.hosts_of(chain.name)).get(unit)

    def _give_up(self, unit: Unit, successor: str | None) -> None:
        """Hand a unit over, one at a time, as soon as its successor has read its state."""
        host = self._running[unit].host
        now = time.monotonic()
        if successor is None:
            host.drain()
        elif any(running.host.is_draining for running in self._running.values()):
            self._gave_up_at = now
        else:
            is_warm = host.is_known_to(self._roll.warm_epoch(successor, unit))
            if is_warm or now - self._gave_up_at > PATIENCE_S:
                log.info("unit given up", unit=unit_key(unit), to=successor, is_warm=is_warm)
                host.drain()
                self._gave_up_at = now

    # -- ownership

    async def _manage(self, group: asyncio.TaskGroup) -> None:
        refreshed_at = 0.0
        await asyncio.sleep(2 * LOOK_S)  # hear who is there before taking a share
        while not self._stopping.is_set():
            now = time.monotonic()
            if self._control.connected:
                if self._changed.is_set() or now - refreshed_at > REFRESH_S:
                    self._changed.clear()
                    try:
                        self._owned = await self._owners.all()
                        await self._read_paused()  # a hint may have been lost with a connection
                        refreshed_at = now
                    except (Silence, BusError) as error:
                        log.warning("owners cannot be read", reason=str(error))
                        self._changed.set()
                await self._look(group)
                self._look_at_sinks(group)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()

    def _owners_changed(self, _: str) -> None:
        self._changed.set()
        for later_s in HINT_AGAIN_S:
            asyncio.get_running_loop().call_later(later_s, self._changed.set)

    async def _look(self, group: asyncio.TaskGroup) -> None:
        awaited: list[Unit] = []
        is_all_mine = True
        for chain in self.plan.chains:
            if not self._is_chosen(chain):
                continue
            units: list[Unit] = [(chain.name, partition) for partition in chain.partitions]
            share = shares(units, self._roll.hosts_of(chain.name))
            for unit in units:
                if unit in self._running:
                    self._check_running(unit, share.get(unit))
                    is_all_mine = is_all_mine and share.get(unit) == self.name
                elif share.get(unit) == self.name and await self._is_run(unit):
                    awaited.append(unit)
                elif share.get(unit) == self.name and self._may_retry(unit):
                    await self._try_to_own(unit, chain, group)
        if is_all_mine:
            self._gave_up_at = time.monotonic()
        self._warm_one(awaited)
        for unit, running in self._running.items():
            if self._chain(unit[0]) is None:
                running.host.drain()

    def _may_retry(self, unit: Unit) -> bool:
        return time.monotonic() - self._failed_at.get(unit, 0.0) > RETRY_HOST_S

    async def _is_run(self, unit: Unit) -> bool:
        """Whether another worker that is not dead owns a unit."""
        owner = self._owned.get(unit_key(unit))
        if owner is None or owner.worker in ("", self.name):
            return False
        return not await self._roll.is_dead(owner.worker)

    def _warm_one(self, awaited: list[Unit]) -> None:
        """Read the state of one of the units we wait for; which, and how far, is announced."""
        if self._warming is not None and self._warming.warmth.unit not in awaited:
            self._stop_warming()
        if self._warming is None and awaited:
            warmth = Warmth(self._bus, awaited[0])
            self._warming = _Warming(warmth, asyncio.create_task(warmth.keep()))
        self._roll.warm = {}
        if self._warming is not None and self._warming.warmth.epoch is not None:
            self._roll.warm[unit_key(self._warming.warmth.unit)] = self._warming.warmth.epoch

    def _stop_warming(self) -> None:
        if self._warming is not None:
            self._warming.task.cancel()
        self._warming = None
        self._roll.warm = {}

    def _taken_warmth(self, unit: Unit) -> Mapping[str, bytes]:
        """What was read in advance of a unit that is ours now."""
        if self._warming is None or self._warming.warmth.unit != unit:
            return {}
        blobs = self._warming.warmth.blobs
        self._stop_warming()
        return blobs

    def _check_running(self, unit: Unit, successor: str | None) -> None:
        running = self._running[unit]
        owner = self._owned.get(unit_key(unit))
        if owner is not None and owner.epoch > running.host.owner.epoch:
            log.info("unit has a newer owner", unit=unit_key(unit), owner=owner.worker)
            running.host.fence()
        elif successor != self.name:
            self._give_up(unit, successor)

    async def _try_to_own(self, unit: Unit, chain: ChainPlan, group: asyncio.TaskGroup) -> None:
        judged = self._owned.get(unit_key(unit))
        strikes = 0
        is_dead = False
        if judged is not None and judged.worker and judged.worker != self.name:
            is_dead = await self._roll.is_dead(judged.worker)
            if not is_dead:
                return
        try:
            cursor = await saved_cursor(self._control, unit)
            if is_dead and judged is not None and judged.cursor == cursor:
                strikes = judged.strikes + 1
            claim = Owner(self.name, 0, strikes, cursor)
            owner = await self._owners.take(unit, judged, claim)
        except BusError as error:
            log.warning("unit cannot be taken", unit=unit_key(unit), reason=str(error))
            return
        self._changed.set()
        if owner is None:
            return
        self._owned[unit_key(unit)] = owner
        host = self._host(unit, chain, owner)
        task = group.create_task(self._hosted(unit, host))
        self._running[unit] = _Running(host, task)
        log.info("unit taken", unit=unit_key(unit), epoch=owner.epoch, after_death=is_dead)
        if is_dead:
            telemetry.TAKEOVERS.inc()

    def _host(self, unit: Unit, chain: ChainPlan, owner: Owner) -> PartitionHost:
        return PartitionHost(
            self._bus,
            self._subjects,
            chain,
            unit,
            owner,
            self._limits,
            self._send_core,
            self._is_paused,
            self._watchdog,
            self._taken_warmth(unit),
        )

    async def _hosted(self, unit: Unit, host: PartitionHost) -> None:
        """Run a unit; whatever ends it, the unit is free to be taken again."""
        is_released = False
        try:
            await host.run()
            is_released = True
        except Fenced as error:
            log.warning("fenced by a newer owner", unit=str(error))
        except Closed:
            raise
        except (
            Silence,
            NobodyThere,
            Contested,
        ) as error:  # no fault of the code: it is taken and loaded again
            self._failed_at[unit] = time.monotonic()
            log.warning("unit waits for NATS", unit=unit_key(unit), reason=str(error))
            is_released = True
        except Exception as error:  # one unit's trouble is not the others'
            self._failed_at[unit] = time.monotonic()
            self.faults.refused[unit_key(unit)] = f"{type(error).__name__}: {error}"
            log.error("unit failed", unit=unit_key(unit), reason=str(error), exc_info=error)
            is_released = True
        else:
            self.faults.refused.pop(unit_key(unit), None)
        finally:
            self._running.pop(unit, None)
            self._changed.set()
        if is_released:
            with contextlib.suppress(BusError):
                await self._owners.release(unit, host.owner)

    async def _send_core(self, output: Output) -> None:
        await self._bus.publish(output.subject, output.data)
        self._latest.note(output)
        self._mirror.note(output)

    # -- sinks

    def _look_at_sinks(self, group: asyncio.TaskGroup) -> None:
        wanted = {
            one.name: one
            for one in self.plan.sinks
            if (not self._chosen or one.name in self._chosen)
            and (
                self._store is not None or not one.asks_for("store")
            )  # its frames wait in the stream
        }
        for name, running in list(self._sinks.items()):
            one = wanted.get(name)
            if running.task.done():
                del self._sinks[name]
            elif one is None or one.version != running.host.hosted.version:
                running.host.drain()
        for name, one in wanted.items():
            if name not in self._sinks:
                host = self._sink_host(one)
                self._sinks[name] = _SinkRunning(host, group.create_task(host.run()))

    def _sink_host(self, one: Hosted) -> SinkHost:
        tries_max, is_paused = self._limits.tries_max, self._is_sink_paused
        if one.declaration.at_once > 1:
            return CourierHost(self._bus, self._subjects, one, tries_max, is_paused, self._outbound)
        return SinkHost(self._bus, self._subjects, one, tries_max, is_paused, self._store)

    # -- pausing

    def _is_paused(self, plan: ChainPlan) -> bool:
        return plan.name in self._paused or any(one.name in self._paused for one in plan.functions)

    def _is_sink_paused(self, name: str) -> bool:
        return name in self._paused

    async def _reread_paused(self, key: str) -> None:
        if key.startswith(PAUSE_PREFIX + "."):
            await self._read_paused()
            await asyncio.sleep(SETTLED_S)
            await self._read_paused()

    async def _read_paused(self) -> None:
        try:
            keys = await self._control.kv("functions").all(PAUSE_PREFIX)
        except Silence as error:
            log.warning("pauses cannot be read", reason=str(error))
            return
        self._paused = {key.removeprefix(PAUSE_PREFIX + ".") for key in keys}

    # -- what others may ask

    def _status(self, _: Message) -> bytes:
        """Everything `jetscan lag` and `jetscan functions` show of this worker."""
        units: list[dict[str, Any]] = []
        for unit, running in self._running.items():
            progress = running.host.progress
            units.append(
                {
                    "unit": unit_key(unit),
                    "chain": unit[0],
                    "partition": unit[1],
                    "epoch": running.host.owner.epoch,
                    "position": progress.position,
                    "clock_ns": progress.clock_ns,
                    "answered_ns": progress.answered_ns,
                    "pending": progress.pending,
                    "snapshot_age_s": round(time.monotonic() - progress.saved_at, 3),
                    "state_bytes": progress.state_bytes,
                    "published": progress.published,
                    "suppressed": progress.suppressed,
                    "paused": progress.paused,
                    "loaded": running.host.is_loaded,
                    "version": running.host.plan.version,
                    "functions": {one.name: one.version for one in running.host.plan.functions},
                    "used": running.host.chain.used(),
                }
            )
        told = {
            "worker": self.name,
            "pid": os.getpid(),
            "units": units,
            "sinks": sorted(self._sinks),
            "sink_versions": {name: one.host.hosted.version for name, one in self._sinks.items()},
            "faults": [str(fault) for fault in self.faults.found],
            "refused": self._refused(),
        }
        return json.dumps(told).encode()

    def _refused(self) -> dict[str, str]:
        """Why units do not run, or run an old version; what another worker runs is not ours to tell."""
        told = {}
        for key, why in self.faults.refused.items():
            owner = self._owned.get(key)
            if owner is None or owner.worker in ("", self.name):
                told[key] = why
        for unit, running in self._running.items():
            if running.host.is_loaded:
                told.pop(unit_key(unit), None)
            if running.host.refused:
                told[unit_key(unit)] = running.host.refused
        return told


@dataclass
class _SinkRunning:
    host: SinkHost
    task: asyncio.Task[None]


async def run_worker(
    settings: Settings,
    subjects: Subjects,
    url: str,
    chosen: Iterable[str] = (),
    reload: bool = False,
    on_ready: Callable[[Worker], None] | None = None,
    only_sinks: bool = False,
) -> None:
    """Connect, host, and on the way out hand over. Two connections: frames never delay a probe."""
    bus = await Bus.connect(url, "worker data")
    control = await Bus.connect(url, "worker control")
    worker = Worker(settings, subjects, bus, control, chosen, only_sinks=only_sinks)
    if on_ready:
        on_ready(worker)
    watching = asyncio.create_task(_reload_on_save(worker, settings)) if reload else None
    try:
        await worker.run()
    finally:
        if watching:
            watching.cancel()
        await bus.close()
        await control.close()


async def _reload_on_save(worker: Worker, settings: Settings) -> None:
    from watchfiles import PythonFilter, awatch

    async for _ in awatch(
        settings.functions_dir, watch_filter=PythonFilter(), step=50, debounce=200
    ):
        worker.load()
