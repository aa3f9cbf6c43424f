"""The symbols of users' watchlists as the scanner is told them: a copy beside the rules, in their bucket.

The database has the watchlists. What rules mean by them goes to the scanner with the rules and under the
same versions, so it is copied into the bucket that numbers them: one key per user, written whole.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.bus import Entry, Kv, Refused

PREFIX = "watch."  # of keys; no rule's id has a dot
NAMED = re.compile(r"watchlist\s+([A-Za-z0-9_-]{1,64})", re.IGNORECASE)  # in the text of a rule
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
TRIES = 8
Thing = dict[str, Any]
Lists = dict[str, Thing]  # id -> {"name", "symbols"}


class Busy(RuntimeError):
    """Others change the same watchlists all the time."""


@dataclass
class Scopes:
    """The watchlists of every user, as they lie in the bucket."""

    lists: dict[str, Lists] = field(default_factory=dict)

    def fill(self, entries: Mapping[str, Entry]) -> set[str]:
        """Take what lies in the bucket; returns the users of whom it differs from before."""
        before, self.lists = self.lists, {}
        for entry in entries.values():
            told = _told(entry)
            self.lists[told["user"]] = told["lists"]
        return {
            user
            for user in before.keys() | self.lists.keys()
            if before.get(user, {}) != self.lists.get(user, {})
        }

    def of_rules(
        self, rules: Iterable[Thing], others: Mapping[str, Lists] | None = None
    ) -> dict[str, dict[str, list[str]]] | None:
        """Owner -> id -> symbols of the lists that rules name; None where none names any.

        `others` takes the place of users' lists that are not stored yet.
        """
        lists = {**self.lists, **(others or {})}
        found: dict[str, dict[str, list[str]]] = {}
        for rule in rules:
            for name in names_in(rule):
                owner = str(rule.get("user_id") or "")
                kept = found.setdefault(owner, {})
                if name in lists.get(owner, {}):
                    kept[name] = lists[owner][name]["symbols"]
        return found or None


def names_in(rule: Thing) -> set[str]:
    """The ids of the watchlists that a rule names, in its text or beside it."""
    text, beside = rule.get("when"), rule.get("watchlist")
    found = set(NAMED.findall(text)) if isinstance(text, str) else set()
    return found | ({beside} if isinstance(beside, str) and beside else set())


async def copy(kv: Kv, user: str, read: Callable[[], Awaitable[Lists]]) -> bool:
    """Write what `read` says into a user's key, newest last whoever else does; whether it was another.

    The key's revision is known before `read` runs: whoever wrote after it is noticed, and what is read then
    is at least as new.
    """
    key = key_of(user)
    for _ in range(TRIES):
        revision = await kv.revision(key)
        entry = await kv.get(key)
        if entry is not None and entry.revision != revision:
            continue
        lists = await read()
        if (_told(entry)["lists"] if entry else {}) == lists:
            return False
        try:
            await kv.update(key, json.dumps({"user": user, "lists": lists}).encode(), revision)
        except Refused:
            continue
        return True
    raise Busy(f"the watchlists of {user} change all the time")


def key_of(user: str) -> str:
    """The key of a user, whatever letters the name has."""
    plain = (
        user if PLAIN.fullmatch(user) else "=" + base64.urlsafe_b64encode(user.encode()).decode()
    )
    return PREFIX + plain


def _told(entry: Entry) -> Thing:
    try:
        told = json.loads(entry.value)
        return {"user": str(told["user"]), "lists": dict(told["lists"])}
    except (ValueError, KeyError, TypeError):
        return {"user": "", "lists": {}}
