"""What users keep for the scanner, rules and toplists: one per key, sent to it whole, in stream order.

Both kinds lie in one bucket, so that its sequence is the version of both together. A rule's key is its
id; a toplist's begins with `list.`, and what watchlists stand for with `watch.`, as no id can.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from runtime import telemetry
from runtime.bus import Bus, Entry, Listener, Refused
from runtime.frames import Frame, encode, texts
from runtime.gateway.scopes import PREFIX as SCOPES
from runtime.gateway.scopes import Lists, Scopes, copy, names_in
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

BODY_BYTES_MAX = 900_000  # one control frame
RULES_MAX = 1_000
RULES_OF_USER_MAX = 200
LISTS_MAX = 200  # of all users: the functions rank no more
LISTS_OF_USER_MAX = 20
LIST_BYTES_MAX = 16 << 10
SETTLED_S = 0.3  # a hint may be here before the bucket has what it is about: read once more
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
NOBODY = "-"  # owns nothing: no user has this name
GONE = "gone."  # keys of what private rules leave behind
BUCKET, SUBJECT, SYSTEM = "rules", "control", "ask.toplists"
FAULTS = (
    "ask.faults"  # the function that accepts it tells the faults of a control body: {id: fault}
)
Thing = dict[str, Any]


# What a rule has that was stored before rules had owners.
OWNED: Thing = {"user_id": "", "shared": False, "version": 1}


class RuleError(Exception):
    """A rule or toplist that is not taken; `status` is the HTTP answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Kind:
    """What is kept: how it is called, where it lies, how many there may be."""

    name: str
    field: str  # of the control body
    prefix: str  # of its keys
    most: int
    most_of_user: int
    defaults: Thing
    refusal: str


RULE = Kind(
    "rule",
    "rules",
    "",
    RULES_MAX,
    RULES_OF_USER_MAX,
    {"description": "", "cooldown": 10, "enabled": True},
    "Failed to compile rule",
)
LIST = Kind(
    "toplist",
    "toplists",
    "list.",
    LISTS_MAX,
    LISTS_OF_USER_MAX,
    {"description": "", "sort_order": "desc", "enabled": True},
    "Invalid toplist configuration",
)


@dataclass
class Shelf:
    """All things of one kind, in memory as in the bucket, and what REST does with them."""

    kind: Kind
    book: Book
    things: dict[str, Thing] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)

    def all(self) -> list[Thing]:
        """Everything, newest first; with `fault` where a rule does not compile any more."""
        shown = [self._shown(one) for one in self.things.values()]
        return sorted(shown, key=lambda one: str(one.get("created_at", "")), reverse=True)

    def get(self, thing_id: str) -> Thing:
        """One of them; 404."""
        if thing_id not in self.things:
            raise RuleError(404, f"{self.kind.name.capitalize()} not found")
        return self._shown(self.things[thing_id])

    def _shown(self, thing: Thing) -> Thing:
        if self.kind is not RULE:
            return thing
        fault = self.book.faults.get(str(thing["id"]))
        whole = {**OWNED, **thing}
        return whole if fault is None else {**whole, "fault": fault}

    def enabled(self) -> list[Thing]:
        """Those that the scanner is told."""
        return [one for one in self.things.values() if one.get("enabled", True)]

    async def add(self, given: Any) -> Thing:
        """Store a new one; 400, 409, 413."""
        async with self.book.changing:
            whole = self._complete(self._object(given), {})
            if whole["id"] in self.things:
                raise RuleError(409, f"{self.kind.name} {whole['id']} exists; PUT changes it")
            before = self.book.departed.get(whole["id"]) if self.kind is RULE else None
            if before not in (None, whole.get("user_id") or ""):
                raise RuleError(409, f"rule {whole['id']} was somebody's; choose another id")
            self._check_number(whole)
            await self._store(whole, None)
        self._count(telemetry.RULES_CREATED)
        return whole

    async def replace(
        self, thing_id: str, given: Any, check: Callable[[Thing], None] = lambda _: None
    ) -> Thing:
        """Change one; its id, its owner and its creation stay. `check` sees what it is now, and may raise."""
        async with self.book.changing:
            check(self.get(thing_id))
            whole = self._complete({**self._object(given), "id": thing_id}, self.things[thing_id])
            await self._store(whole, self.revisions[thing_id])
        self._count(telemetry.RULES_UPDATED)
        return whole

    async def remove(self, thing_id: str, check: Callable[[Thing], None] = lambda _: None) -> None:
        """Delete one; 404. `check` sees what it is now, and may raise."""
        async with self.book.changing:
            check(self.get(thing_id))
            if self.kind is RULE:
                await self.book.note_departed(self.things[thing_id])
            await self.book.kv.delete(self.kind.prefix + thing_id)
            await self.book.refresh_now()
        self._count(telemetry.RULES_DELETED)

    def _count(self, counter: Any) -> None:
        if self.kind is RULE:
            counter.inc()

    def starter(self, given: Thing) -> tuple[str, bytes]:
        """Key and value of one that comes with the functions."""
        whole = self._complete(given, {})
        return self.kind.prefix + whole["id"], json.dumps(whole).encode()

    def _check_number(self, whole: Thing) -> None:
        if len(self.things) >= self.kind.most:
            raise RuleError(413, f"at most {self.kind.most} {self.kind.field}")
        user = whole.get("user_id")
        most = self.kind.most_of_user
        if user and len(self.of(user)) >= most:
            raise RuleError(413, f"at most {most} {self.kind.field} of a user")

    def of(self, user: str) -> list[Thing]:
        """Those of a user, newest first."""
        return [one for one in self.all() if one.get("user_id") == user]

    def owned(self, thing_id: str, user: str) -> Thing:
        """One of a user; 403 for somebody else's, 404."""
        found = self.get(thing_id)
        if found.get("user_id") != user:
            raise RuleError(403, "Access denied")
        return found

    def _object(self, given: Any) -> Thing:
        if not isinstance(given, dict):
            raise RuleError(
                400, f"Invalid request body: expected an object, found {type(given).__name__}"
            )
        return given

    def _complete(self, given: Thing, before: Thing) -> Thing:
        thing_id = given.get("id") or str(uuid.uuid4())
        if not isinstance(thing_id, str) or not ID.fullmatch(thing_id):
            raise RuleError(
                400, f"id: expected 1 to 64 of letters, digits, - and _, found {thing_id!r}"
            )
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        whole = {**self.kind.defaults, **given, "id": thing_id}
        whole.pop("fault", None)  # what was read may be written back
        whole["created_at"] = before.get("created_at") or given.get("created_at") or now
        whole["updated_at"] = now
        if self.kind is RULE:
            whole |= self._ownership(whole, before)
        return whole

    def _ownership(self, whole: Thing, before: Thing) -> Thing:
        """Whose rule it is, for how many, and the version it is: what is sent of these says only `shared`."""
        shared = whole.get("shared", False)
        if not isinstance(shared, bool):
            raise RuleError(400, f"shared: expected true or false, found {shared!r:.40}")
        if not before:
            return {"user_id": whole.get("user_id") or "", "shared": shared, "version": 1}
        known = {**OWNED, **before}
        version = int(known["version"]) + 1
        return {"user_id": known["user_id"], "shared": shared, "version": version}

    async def _store(self, thing: Thing, revision: int | None) -> None:
        name = self.kind.name
        self.book.check(self.kind, thing)
        value = json.dumps(thing).encode()
        if self.kind is LIST and len(value) > LIST_BYTES_MAX:
            raise RuleError(413, f"a toplist may take {LIST_BYTES_MAX} bytes of JSON")
        if len(self.book.body_with(self.kind, thing)) > BODY_BYTES_MAX:
            raise RuleError(
                413, f"all rules and toplists together may take {BODY_BYTES_MAX} bytes of JSON"
            )
        key = self.kind.prefix + thing["id"]
        try:
            if revision is None:
                await self.book.kv.create(key, value)
            else:
                await self.book.kv.update(key, value, revision)
        except Refused as error:
            await self.book.refresh_now()
            raise RuleError(
                409, f"{name} {thing['id']} was changed by somebody else; read it again"
            ) from error
        await self.book.refresh_now()


class Book:
    """Rules and toplists of all users, and what the scanner is told of them."""

    def __init__(
        self, bus: Bus, subjects: Subjects, accepts: Mapping[str, Callable[[str], str]]
    ) -> None:
        self.kv = bus.kv(BUCKET)
        self.changing = asyncio.Lock()
        self.rules = Shelf(RULE, self)
        self.lists = Shelf(LIST, self)
        self.scopes = Scopes()
        told = accepts[SYSTEM]("") if SYSTEM in accepts else "[]"
        self.system: dict[str, Thing] = {one["id"]: one for one in json.loads(told)}
        self._bus = bus
        self._subjects = subjects
        self._check = accepts.get(SUBJECT)
        self._faults_of = accepts.get(FAULTS)
        self.departed: dict[str, str] = {}  # id of a private rule that was deleted -> whose it was
        self.faults: dict[str, str] = {}  # id of a stored rule -> why it does not compile
        self.on_change: Callable[[], None] = lambda: None
        self.on_watchlists: Callable[[set[str]], None] = lambda _: None
        self._told = -1
        self._listener: Listener | None = None

    async def open(self, starter: str | None = None) -> None:
        """Read both, put the starter rules into a bucket that never had any, tell the scanner."""
        self._listener = await self.kv.hints(self._changed)
        if starter and await self.kv.sequence() == 0:
            for rule in json.loads(Path(starter).read_text(encoding="utf-8")):
                await self.kv.create(*self.rules.starter(rule))
        await self.refresh()

    async def close(self) -> None:
        """Stop following changes."""
        if self._listener:
            await self._listener.stop()

    async def _changed(self, _: str) -> None:
        if not self.changing.locked():  # another gateway's change
            await self.refresh()
            await asyncio.sleep(SETTLED_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the bucket and tell every partition, once per version."""
        async with self.changing:
            await self.refresh_now()

    async def refresh_now(self) -> None:
        """The same for who holds the lock."""
        version = await self.kv.sequence()
        entries = await self.kv.all()
        lists = {key for key in entries if key.startswith(LIST.prefix)}
        scopes = {key for key in entries if key.startswith(SCOPES)}
        _fill(self.lists, {key: entries[key] for key in lists})
        gone = {key for key in entries if key.startswith(GONE)}
        self.departed = {key[len(GONE) :]: _owner(entries[key].value) for key in gone}
        others = lists | scopes | gone
        _fill(self.rules, {key: one for key, one in entries.items() if key not in others})
        changed = self.scopes.fill({key: entries[key] for key in scopes})
        self._note_faults()
        active = [one for one in self.rules.enabled() if one["id"] not in self.faults]
        telemetry.RULES_ACTIVE.set(len(active))
        self.on_change()
        if changed:
            self.on_watchlists(changed)
        if version != self._told:
            await self._tell(version)
            self._told = version

    async def _tell(self, version: int) -> None:
        """All that is enabled, to every partition, under an id that makes it one message."""
        body = self._checked()
        frame = Frame({"version": np.array([version]), "body": texts([body])}, source="gateway")
        data = encode(frame, self._subjects.record_of(SUBJECT))
        async with asyncio.TaskGroup() as group:
            for partition in range(self._subjects.partitions):
                subject = self._subjects.wire(SUBJECT, partition)
                identity = f"rules-{version}-{partition}"
                group.create_task(self._bus.put(subject, data, message_id=identity))

    def _note_faults(self) -> None:
        """Say of every stored rule once why it does not compile, and that it does again."""
        found = self._faults_among(list(self.rules.things.values()))
        for rule_id in sorted(found.keys() | self.faults.keys()):
            if rule_id not in found:
                log.info("rule compiles again, or is gone", rule=rule_id)
            elif found[rule_id] != self.faults.get(rule_id):
                log.error("rule left out", rule=rule_id, reason=found[rule_id])
        self.faults = found

    def _faults_among(self, rules: list[Thing]) -> dict[str, str]:
        """Id of a rule -> why it does not compile; those with a fault stop no other."""
        if self._faults_of is not None:
            body = self._body(rules, self._good_lists())
            try:
                found: dict[str, str] = json.loads(self._faults_of(body))
            except ValueError as error:  # of the set, such as too many rules in the bucket
                log.error("rules could not be checked together", reason=str(error))
                found = {}
            return found
        faults = {}
        for rule in rules:
            try:
                self._check_alone(RULE, rule)
            except RuleError as error:
                faults[str(rule["id"])] = str(error)
        return faults

    def _checked(self) -> str:
        """The control body; what does not compile any more is left out, not all."""
        lists = self._good_lists()
        rules = [one for one in self.rules.enabled() if one["id"] not in self.faults]
        return self._body(sorted(rules, key=lambda one: str(one["id"])), lists)

    def _body(
        self, rules: list[Thing], lists: list[Thing], others: Mapping[str, Lists] | None = None
    ) -> str:
        """A control body: rules, lists, and the watchlists that the rules name."""
        body: Thing = {"rules": rules}
        watchlists = self.scopes.of_rules(rules, others)
        if lists:
            body["toplists"] = lists
        if watchlists is not None:
            body["watchlists"] = watchlists
        return json.dumps(body)

    def _good_lists(self) -> list[Thing]:
        good = []
        for one in sorted(self.lists.enabled(), key=lambda one: str(one["id"])):
            try:
                self._check_alone(LIST, one)
                good.append(one)
            except RuleError as error:
                log.error("left out", kind=LIST.name, id=one["id"], reason=str(error))
        return good

    def _shelf(self, kind: Kind) -> Shelf:
        return self.lists if kind is LIST else self.rules

    def check(self, kind: Kind, thing: Thing) -> None:
        """Whether the functions take it, a rule also beside the others that are enabled; 400."""
        self._check_alone(kind, thing)
        if kind is LIST:
            return
        others = [one for one in self.rules.enabled() if one["id"] != thing["id"]]
        found = self._faults_among([*others, {**thing, "enabled": True}])
        known = self.faults.keys() - {thing["id"]}
        for fault in (text for name, text in found.items() if name not in known):
            raise RuleError(400, f"{kind.refusal}: {fault}")

    def _check_alone(self, kind: Kind, thing: Thing) -> None:
        """Whether the functions take it, a rule beside the lists it may name; 400."""
        if self._check is None:
            raise RuleError(503, f"no hosted function takes {kind.field}")
        body = self._body([thing], self._good_lists()) if kind is RULE else self._body([], [thing])
        try:
            self._check(body)
        except ValueError as error:
            raise RuleError(400, f"{kind.refusal}: {error}") from error

    def body_with(self, kind: Kind, thing: Thing) -> str:
        """The control body as it would be with this thing in it."""
        others = [one for one in self._shelf(kind).enabled() if one["id"] != thing["id"]]
        if kind is RULE:
            return self._body([*others, thing], self.lists.enabled())
        return self._body(self.rules.enabled(), [*others, thing])

    # -- watchlists

    def check_room(self, user: str, lists: Lists) -> None:
        """Whether the control body has room for a user's watchlists as they would be; 413."""
        body = self._body(self.rules.enabled(), self.lists.enabled(), {user: lists})
        if len(body) > BODY_BYTES_MAX:
            raise RuleError(
                413, f"rules and the watchlists they name may take {BODY_BYTES_MAX} bytes of JSON"
            )

    async def copy_watchlists(self, user: str, read: Callable[[], Awaitable[Lists]]) -> None:
        """Take a user's watchlists from the database and tell the scanner."""
        async with self.changing:
            if await copy(self.kv, user, read):
                await self.refresh_now()

    async def note_departed(self, rule: Thing) -> None:
        """Remember whose a private rule was: its alerts stay, and stay that user's."""
        owner = rule.get("user_id")
        if owner and not rule.get("shared"):
            value = json.dumps({"user_id": owner}).encode()
            await self.kv.put(GONE + str(rule["id"]), value)

    def naming(self, user: str, name: str) -> list[str]:
        """The ids of a user's rules that name a watchlist."""
        rules = self.rules.things.items()
        return sorted(
            rule_id
            for rule_id, rule in rules
            if rule.get("user_id") == user and name in names_in(rule)
        )

    def verdict(self, rule_id: str) -> Thing:
        """Whether a stored rule compiles; 404."""
        self.rules.get(rule_id)
        try:
            self.check(RULE, self.rules.things[rule_id])
        except RuleError as error:
            return {"valid": False, "error": str(error)}
        return {"valid": True}


def _fill(shelf: Shelf, entries: Mapping[str, Entry]) -> None:
    cut = len(shelf.kind.prefix)
    shelf.things = {key[cut:]: _stored(key[cut:], entry.value) for key, entry in entries.items()}
    shelf.revisions = {key[cut:]: entry.revision for key, entry in entries.items()}


def _owner(value: bytes) -> str:
    try:
        return str(json.loads(value)["user_id"])
    except (ValueError, KeyError, TypeError):
        return NOBODY


def _stored(name: str, value: bytes) -> Thing:
    """A thing as it lies in the bucket; what is none becomes one that says so as its fault."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    return {**found, "id": name} if isinstance(found, dict) else {"id": name, "name": name}
