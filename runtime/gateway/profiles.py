"""What users want to be told: kept as they wrote it, told to the functions with their watchlists."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from runtime.bus import Refused
from runtime.gateway.scopes import TRIES, Busy, Lists
from runtime.store import Outage
from runtime.users import NAME, PROFILES, SUBJECT, tell_profile

if TYPE_CHECKING:
    from runtime.gateway.gateway import Gateway

LISTS = "SELECT id, name, symbols FROM watchlists WHERE user_id = $1"
Profile = dict[str, Any]


class BadProfile(ValueError):
    """A profile that the functions do not take."""


class Profiles:
    """The profiles of all users, in a bucket: one place, for this gateway, others and the command line."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._kv = gateway.bus.kv(PROFILES)

    async def get(self, user: str) -> Profile:
        """A user's profile as it was written; empty where there is none."""
        if not NAME.fullmatch(user):
            return {}
        entry = await self._kv.get(user)
        return _read(entry.value) if entry else {}

    async def put(self, user: str, profile: Profile) -> None:
        """Keep and tell a profile; raises BadProfile, Outage."""
        lists = await self.lists_of(user) if _names_lists(profile) else {}
        self._check(user, _with_lists(profile, lists))
        await self._told(user, profile)

    async def tell_again(self, user: str) -> None:
        """Tell a user's profile with the watchlists as they are now, where it names any."""
        profile = await self.get(user)
        if _names_lists(profile):
            await self._told(user, None)

    async def lists_of(self, user: str) -> Lists:
        """A user's watchlists, from the database; none where there is none. Raises Outage."""
        if self._gateway.store is None:
            return {}
        rows = await self._gateway.store.fetch(LISTS, user)
        return {row["id"]: {"name": row["name"], "symbols": list(row["symbols"])} for row in rows}

    def _check(self, user: str, profile: Profile) -> None:
        accept = self._gateway.accepts.get(SUBJECT)
        if accept is None:
            raise Outage("no hosted function takes profiles")
        if not NAME.fullmatch(user):
            raise BadProfile(
                f"your user id {user!r:.80} cannot be told alerts: expected letters, digits, - and _"
            )
        try:
            accept(json.dumps(profile))
        except ValueError as error:
            raise BadProfile(str(error)) from error

    async def _told(self, user: str, wanted: Profile | None) -> None:
        """Keep a profile, or the one that is kept, and tell it with the watchlists that are stored by then.

        Its version is of before they are read, and whoever wrote since is noticed by the revision: so what
        has the highest version was read last.
        """
        for _ in range(TRIES):
            revision, version = await self._kv.revision(user), time.time_ns()
            profile = await self.get(user) if wanted is None else wanted
            body = json.dumps(_with_lists(profile, await self.lists_of(user)))
            try:
                await self._kv.update(user, json.dumps(profile).encode(), revision)
            except Refused:
                continue
            gateway = self._gateway
            await tell_profile(gateway.bus, gateway.subjects, gateway.accepts, user, body, version)
            return
        raise Busy(f"the profile of {user} changes all the time")


def named_lists(profile: Profile) -> set[str]:
    """The ids of the watchlists that a profile's subscriptions name."""
    subscriptions = profile.get("subscriptions")
    return {
        name
        for one in (subscriptions if isinstance(subscriptions, list) else ())
        if isinstance(one, dict) and isinstance(one.get("watchlists"), list)
        for name in one["watchlists"]
        if isinstance(name, str)
    }


def _names_lists(profile: Profile) -> bool:
    return bool(named_lists(profile))


def _with_lists(profile: Profile, lists: Lists) -> Profile:
    """A profile with the symbols of the watchlists that it names; one written by hand may bring others."""
    named = named_lists(profile)
    stored = {name: one["symbols"] for name, one in lists.items() if name in named}
    beside = profile.get("watchlists")
    whole = {**(beside if isinstance(beside, dict) else {}), **stored}
    return {**profile, "watchlists": whole} if whole else profile


def _read(value: bytes) -> Profile:
    try:
        told = json.loads(value)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
