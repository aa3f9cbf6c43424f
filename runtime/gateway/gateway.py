"""What the routes share: what is kept, what is heard, and who is connected."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from runtime import telemetry, tracing
from runtime.bus import Bus, BusError, Message
from runtime.config import Settings
from runtime.frames import BadFrame, decode
from runtime.gateway.audit import Audit
from runtime.gateway.backtest_jobs import BacktestJobs
from runtime.gateway.book import Book
from runtime.gateway.directory import Directory
from runtime.gateway.engine import Engine
from runtime.gateway.following import Following
from runtime.gateway.hub import Hub
from runtime.gateway.keeper import Keeper
from runtime.gateway.levels import Levels
from runtime.gateway.limits import Limits
from runtime.gateway.passwords import Passwords
from runtime.gateway.profiles import Profiles
from runtime.gateway.recent_bars import RecentBars
from runtime.gateway.rule_versions import RuleVersions
from runtime.gateway.setup import Setup
from runtime.gateway.watched import Watched
from runtime.lag import look
from runtime.redis_answers import Answers
from runtime.redis_mirror import ConfigMirror
from runtime.scaling import Bounds, Scaling
from runtime.shapes import alert_shapes, latency_ms, list_shapes
from runtime.store import Outage, Store
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

INPUT_TIME = "Jetscan-Input-Time"
RECONNECTED_S = 1.0
LOOK_S = 1.0  # as the supervisor: the figures are the same
HISTORY_READ = 20_000  # alerts messages read back at start


class Gateway:
    """What the routes share."""

    def __init__(
        self,
        settings: Settings,
        subjects: Subjects,
        bus: Bus,
        accepts: Mapping[str, Callable[[str], str]],
    ) -> None:
        self.settings = settings
        self.subjects = subjects
        self.bus = bus
        self.accepts = accepts
        self.hub = Hub()
        self.book = Book(bus, subjects, accepts)
        self.rules, self.lists = self.book.rules, self.book.lists
        self.recent = RecentBars(bus, subjects)
        self.mirror = ConfigMirror(settings.redis_url)
        self.store = Store(settings.database_url) if settings.database_url else None
        self.backtests = BacktestJobs(settings, self.store)
        self.following = Following(self)
        self.book.on_change = self._book_changed
        self._known_lists: set[str] = set()
        self._new_lists: set[str] = set()
        self._has_new_lists = asyncio.Event()
        self._new_scopes: set[str] = set()
        self._has_new_scopes = asyncio.Event()
        self.audit = Audit(self.store)
        self.rule_versions = RuleVersions(self.store)
        self.profiles = Profiles(self)
        self.engine = Engine(bus, subjects)
        self.watchlists = self._watchlists_of
        self.book.on_watchlists = self._watchlists_changed
        self.directory = Directory(settings, self.store)
        self.setup = Setup(settings, self.directory)
        self.directory.on_read = self.setup.look
        self.limits = Limits(settings.redis_url)
        self.answers = Answers(settings.redis_url)
        self.passwords = Passwords()
        self.scaling = Scaling(
            Bounds(
                settings.workers_min,
                settings.workers_max,
                settings.lag_target_s,
                settings.scale_cooldown_s,
            )
        )
        self.is_loaded = False
        self.is_draining = False

    @property
    def database(self) -> Store:
        """PostgreSQL; raises Outage without one."""
        if self.store is None:
            raise Outage("no database: set JETSCAN_DATABASE_URL")
        return self.store

    async def run(self, seed_rules: str | None) -> None:
        """Read what there is, then follow what comes; ends only with an error or by cancellation."""
        await self.book.open(seed_rules)
        await self._load_toplists()
        listeners = [
            await self.bus.listen("toplists.updated", self._heard_toplists),
            await self.bus.listen("bars.live.*", self._heard_bars),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.hub.pump())
                group.create_task(self.following.metrics.run())
                group.create_task(self.following.functions.run())
                group.create_task(Keeper(self.following).run())
                group.create_task(self._load_new_lists())
                group.create_task(self._follow_alerts())
                group.create_task(self._end_with_bus())
                group.create_task(self._read_again())
                group.create_task(self.mirror.keep())
                group.create_task(self.recent.follow())
                group.create_task(self.backtests.work())
                group.create_task(self.audit.keep())
                group.create_task(self.rule_versions.keep())
                group.create_task(self.directory.keep())
                group.create_task(self.limits.keep())
                group.create_task(Watched(self).keep())
                group.create_task(Levels(self.bus, self.subjects, self.engine).keep())
                group.create_task(self._look_up_watchlists())
                group.create_task(self._look_at_lag())
        finally:
            await self.audit.close()
            await self.rule_versions.close()
            await self.limits.close()
            await self.answers.close()
            self.passwords.close()
            await self.mirror.close()
            if self.store is not None:
                await self.store.close()
            for listener in listeners:
                await listener.stop()
            await self.book.close()

    async def _read_again(self) -> None:
        """After a reconnection, what others changed meanwhile: nobody told us of it."""
        known = self.bus.reconnects
        while True:
            await asyncio.sleep(RECONNECTED_S)
            now = self.bus.reconnects
            if now == known:
                continue
            try:
                await self.book.refresh()
                known = now
            except BusError as error:
                log.warning("rules and lists are read again soon", reason=str(error))

    async def _look_at_lag(self) -> None:
        """Keep the figures that autoscalers ask for."""
        while True:
            await look(self.bus, self.subjects, self.scaling)
            await asyncio.sleep(LOOK_S)

    async def _end_with_bus(self) -> None:
        await self.bus.closed.wait()
        raise BusError("the connection to NATS is closed for good")

    async def _follow_alerts(self) -> None:
        stream, subject = "ALERTS", "alerts.filtered"
        newest = await self.bus.last(stream, subject)
        past = await self.bus.history(stream, subject, HISTORY_READ) if newest else []
        for message in past:
            self._heard_alerts(message, 0)
        self.is_loaded = True
        start = newest.sequence + 1 if newest else "first"
        async for message in self.bus.read(stream, [subject], start):
            self._heard_alerts(message, time.time_ns())

    def _heard_alerts(self, message: Message, heard_ns: int) -> None:
        """Hold alerts and tell clients; `heard_ns` is 0 for those of before the gateway began."""
        record = self.subjects.record_of("alerts.filtered")
        try:
            alerts = alert_shapes(
                decode(message.data, record), message.headers.get(tracing.TRACEPARENT, "")
            )
        except (BadFrame, ValueError, KeyError) as error:
            log.error("alerts refused", sequence=message.sequence, reason=str(error))
            return
        with tracing.within("deliver", message.headers, alerts=len(alerts)):
            told = message.headers.get(INPUT_TIME, "")
            input_ns = int(told) if told.isdigit() else 0
            for alert in alerts:
                alert["latency_ms"] = latency_ms(alert["ts_ns"], input_ns, message.ts_ns, heard_ns)
                self.hub.add_alert(alert, tracing.present())

    def _heard_toplists(self, message: Message) -> None:
        self._take_toplists(message.data)

    def _take_toplists(self, data: bytes) -> None:
        try:
            frame = decode(data, self.subjects.record_of("toplists.updated"))
        except BadFrame as error:
            log.error("toplists refused", reason=str(error))
            return
        for name, listed in list_shapes(frame, self._columns).items():
            if self._is_of_kept(name, listed.key) or self._is_of_system(name):
                self.hub.set_toplist(name, listed)

    def _is_of_system(self, name: str) -> bool:
        """Whether a ranking is of a system list; of which list, where no function tells them."""
        if name in self.lists.things:
            return False
        return not self.book.system or name in self.book.system

    def _is_of_kept(self, name: str, key: str) -> bool:
        """Whether a ranking is of the list that is kept, not of another user's that had its id before."""
        user = self.lists.things.get(name, {}).get("user_id", "")
        return name in self.lists.things and key == f"toplist:user:{user}:{name}"

    def _columns(self, name: str, key: str) -> list[str]:
        """The own columns of a list."""
        return (self._is_of_kept(name, key) and self.lists.things[name].get("columns")) or []

    def _book_changed(self) -> None:
        """Rules or lists changed: who may see what, and what is no more."""
        users = {name: one.get("user_id", "") for name, one in self.lists.things.items()}
        self.hub.forget_lists(users.get)
        for name in self._known_lists - users.keys():
            self.hub.drop_list(name)
        self._new_lists |= users.keys() - self._known_lists
        self._known_lists = set(users)
        self._has_new_lists.set()
        self.following.see_again()
        self.mirror.note({**self.book.system, **self.lists.things})

    async def _watchlists_of(self, user: str) -> Mapping[str, frozenset[str]]:
        """The symbols of a user's watchlists, by id and by name."""
        lists = self.book.scopes.lists.get(user, {})
        by_name = {one["name"]: frozenset(one["symbols"]) for one in lists.values()}
        return by_name | {name: frozenset(one["symbols"]) for name, one in lists.items()}

    def _watchlists_changed(self, users: set[str]) -> None:
        self._new_scopes |= users
        self._has_new_scopes.set()

    async def _look_up_watchlists(self) -> None:
        """Connections that follow watchlists follow what these are now."""
        while True:
            await self._has_new_scopes.wait()
            self._has_new_scopes.clear()
            while self._new_scopes:
                await self.following.look_up_watchlists(self._new_scopes.pop())

    def may_follow(self, user: str, name: str) -> bool:
        """Whether a user may follow a list: a system list, or an own one."""
        known = self.lists.things.get(name)
        if known is not None:
            return bool(known.get("user_id") == user)
        return not self.book.system or name in self.book.system

    async def _load_toplists(self) -> None:
        for entry in (await self.bus.kv("toplists").all()).values():
            self._take_toplists(entry.value)

    async def _load_new_lists(self) -> None:
        """A list that another gateway took may have been ranked before this one knew it."""
        while True:
            await self._has_new_lists.wait()
            self._has_new_lists.clear()
            while self._new_lists:
                name = self._new_lists.pop()
                try:
                    entry = await self.bus.kv("toplists").get(name)
                except BusError as error:
                    log.warning("ranking not read", toplist=name, reason=str(error))
                    continue
                if entry is not None:
                    self._take_toplists(entry.value)

    def _heard_bars(self, message: Message) -> None:
        try:
            frame = decode(message.data, self.subjects.record_of("bars.live"))
        except BadFrame as error:
            log.error("bars refused", reason=str(error))
            return
        self.hub.set_bars(frame)
