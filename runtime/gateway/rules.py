"""Rules over REST: kept one per key, checked by the functions, sent to the scanner in stream order."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from runtime import telemetry
from runtime.bus import Bus, Listener, Refused
from runtime.frames import Frame, encode, texts
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

BODY_BYTES_MAX = 900_000  # one control frame
RULES_MAX = 1_000
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
BUCKET, SUBJECT = "rules", "control"
FAULTS = "ask.faults"  # the function that accepts it tells the faults of a set: {id: fault}


class RuleError(Exception):
    """A rule that is not taken; `status` is the HTTP answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class RuleBook:
    """All rules, in memory as in the bucket."""

    def __init__(
        self, bus: Bus, subjects: Subjects, accepts: Mapping[str, Callable[[str], str]]
    ) -> None:
        self._bus = bus
        self._kv = bus.kv(BUCKET)
        self._subjects = subjects
        self._check = accepts.get(SUBJECT)
        self._faults_of = accepts.get(FAULTS)
        self._rules: dict[str, dict[str, Any]] = {}
        self._faults: dict[str, str] = {}
        self._revisions: dict[str, int] = {}
        self._changing = asyncio.Lock()
        self._told = -1
        self._listener: Listener | None = None

    async def open(self, starter: str | None = None) -> None:
        """Read the rules, put the starter rules into a bucket that never had any, tell the scanner."""
        self._listener = await self._kv.hints(self._changed)
        if starter and await self._kv.sequence() == 0:
            for rule in json.loads(Path(starter).read_text(encoding="utf-8")):
                await self._kv.create(rule["id"], json.dumps(self._complete(rule, {})).encode())
        await self.refresh()

    async def close(self) -> None:
        """Stop following changes."""
        if self._listener:
            await self._listener.stop()

    async def _changed(self, _: str) -> None:
        if not self._changing.locked():  # another gateway's change
            await self.refresh()

    async def refresh(self) -> None:
        """Read the bucket and tell every partition, once per version."""
        async with self._changing:
            await self._refresh()

    async def _refresh(self) -> None:
        version = await self._kv.sequence()
        entries = await self._kv.all()
        self._rules = {key: _stored(key, entry.value) for key, entry in entries.items()}
        self._revisions = {key: entry.revision for key, entry in entries.items()}
        self._note_faults()
        if version != self._told:
            await self._tell(version)
            self._told = version

    def _note_faults(self) -> None:
        """Say of every stored rule once why it does not compile, and that it does again."""
        found = self._faults_among(list(self._rules.values()))
        for rule_id in sorted(found.keys() | self._faults.keys()):
            if rule_id not in found:
                log.info("rule compiles again, or is gone", rule=rule_id)
            elif found[rule_id] != self._faults.get(rule_id):
                log.error("rule left out", rule=rule_id, reason=found[rule_id])
        self._faults = found

    def _faults_among(self, rules: list[dict[str, Any]]) -> dict[str, str]:
        """Id of a rule -> why it does not compile; those with a fault stop no other."""
        if self._faults_of is not None:
            try:
                found: dict[str, str] = json.loads(self._faults_of(json.dumps({"rules": rules})))
            except ValueError as error:  # of the set, such as too many rules in the bucket
                log.error("rules could not be checked together", reason=str(error))
                found = {}
            return found
        faults = {}
        for rule in rules:
            try:
                self._checked_alone(rule)
            except (ValueError, RuleError) as error:
                faults[str(rule["id"])] = str(error)
        return faults

    def _checked_alone(self, rule: dict[str, Any]) -> None:
        if self._check is None:
            raise RuleError(503, "no hosted function takes rules")
        self._check(json.dumps({"rules": [rule]}))

    async def _tell(self, version: int) -> None:
        """The whole set of enabled rules, to every partition, under an id that makes it one message."""
        body = self._body()
        frame = Frame({"version": np.array([version]), "body": texts([body])}, source="gateway")
        data = encode(frame, self._subjects.record_of(SUBJECT))
        async with asyncio.TaskGroup() as group:
            for partition in range(self._subjects.partitions):
                subject = self._subjects.wire(SUBJECT, partition)
                identity = f"rules-{version}-{partition}"
                group.create_task(self._bus.put(subject, data, message_id=identity))

    def _enabled(self) -> list[dict[str, Any]]:
        return [rule for rule in self._rules.values() if rule.get("enabled", True)]

    def _body(self) -> str:
        """The control body; a rule that does not compile any more is left out, not all."""
        good = [one for one in self._enabled() if one["id"] not in self._faults]
        return json.dumps({"rules": sorted(good, key=lambda one: str(one["id"]))})

    def _compiled(self, rule: dict[str, Any]) -> None:
        """Refuse a rule that does not compile, alone or beside the others that are enabled."""
        others = [one for one in self._enabled() if one["id"] != rule["id"]]
        try:
            self._checked_alone(rule)
            found = self._faults_among([*others, {**rule, "enabled": True}])
        except ValueError as error:
            found = {rule["id"]: str(error)}
        known = self._faults.keys() - {rule["id"]}
        for fault in (text for name, text in found.items() if name not in known):
            raise RuleError(400, f"Failed to compile rule: {fault}")

    # -- what REST does

    def all(self) -> list[dict[str, Any]]:
        """Every rule, newest first; with `fault` where one does not compile any more."""
        rules = [self._shown(rule) for rule in self._rules.values()]
        return sorted(rules, key=lambda rule: str(rule.get("created_at", "")), reverse=True)

    def get(self, rule_id: str) -> dict[str, Any]:
        """One rule; 404."""
        if rule_id not in self._rules:
            raise RuleError(404, "Rule not found")
        return self._shown(self._rules[rule_id])

    def _shown(self, rule: dict[str, Any]) -> dict[str, Any]:
        fault = self._faults.get(str(rule["id"]))
        return rule if fault is None else {**rule, "fault": fault}

    def verdict(self, rule_id: str) -> dict[str, Any]:
        """Whether a stored rule compiles."""
        try:
            self.get(rule_id)
            self._compiled(self._rules[rule_id])
        except RuleError as error:
            if error.status == 404:
                raise
            return {"valid": False, "error": str(error)}
        return {"valid": True}

    async def add(self, rule: Any) -> dict[str, Any]:
        """Store a new rule; 400, 409, 413."""
        async with self._changing:
            whole = self._complete(self._object(rule), {})
            if whole["id"] in self._rules:
                raise RuleError(409, f"rule {whole['id']} exists; PUT changes it")
            if len(self._rules) >= RULES_MAX:
                raise RuleError(413, f"at most {RULES_MAX} rules")
            await self._store(whole, None)
        return whole

    async def replace(self, rule_id: str, rule: Any) -> dict[str, Any]:
        """Change a rule; its id and its creation stay."""
        async with self._changing:
            self.get(rule_id)
            before = self._rules[rule_id]
            whole = self._complete({**self._object(rule), "id": rule_id}, before)
            await self._store(whole, self._revisions[rule_id])
        return whole

    async def remove(self, rule_id: str) -> None:
        """Delete a rule; 404."""
        async with self._changing:
            self.get(rule_id)
            await self._kv.delete(rule_id)
            await self._refresh()

    def _object(self, rule: Any) -> dict[str, Any]:
        if not isinstance(rule, dict):
            raise RuleError(
                400, f"Invalid request body: expected an object, found {type(rule).__name__}"
            )
        return rule

    def _complete(self, rule: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
        rule_id = rule.get("id") or str(uuid.uuid4())
        if not isinstance(rule_id, str) or not ID.fullmatch(rule_id):
            raise RuleError(
                400, f"id: expected 1 to 64 of letters, digits, - and _, found {rule_id!r}"
            )
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        whole = {"description": "", "cooldown": 10, "enabled": True, **rule, "id": rule_id}
        whole.pop("fault", None)  # what was read may be written back
        whole["created_at"] = before.get("created_at") or rule.get("created_at") or now
        whole["updated_at"] = now
        return whole

    async def _store(self, rule: dict[str, Any], revision: int | None) -> None:
        self._compiled(rule)
        others = [one for one in self._enabled() if one["id"] != rule["id"]]
        if len(json.dumps({"rules": [*others, rule]})) > BODY_BYTES_MAX:
            raise RuleError(413, f"all rules together may take {BODY_BYTES_MAX} bytes of JSON")
        value = json.dumps(rule).encode()
        try:
            if revision is None:
                await self._kv.create(rule["id"], value)
            else:
                await self._kv.update(rule["id"], value, revision)
        except Refused as error:
            await self._refresh()
            raise RuleError(
                409, f"rule {rule['id']} was changed by somebody else; read it again"
            ) from error
        await self._refresh()


def _stored(key: str, value: bytes) -> dict[str, Any]:
    """A rule as it lies in the bucket; what is none becomes one that says so as its fault."""
    try:
        rule = json.loads(value)
    except ValueError:
        rule = None
    return {**rule, "id": key} if isinstance(rule, dict) else {"id": key, "name": key}
