"""Users: their profiles on `alerts.control` and in a bucket of their own, their channels in another."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping

import numpy as np

from runtime.bus import Bus, BusError
from runtime.frames import Frame, encode, texts
from runtime.subjects import Subjects

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SUBJECT, BUCKET, PROFILES = "alerts.control", "channels", "profiles"
CHANNEL_BYTES_MAX = 4096


async def tell_profile(
    bus: Bus,
    subjects: Subjects,
    accepts: Mapping[str, Callable[[str], str]],
    user: str,
    body: str,
    version: int = 0,
) -> None:
    """Publish a profile, or with an empty body the end of one; raises BusError saying what is wrong.

    version   the newest wins; 0 = now (ns). Nothing is decided by it but that
    """
    named(user)
    if body:
        if SUBJECT not in accepts:
            raise BusError("no hosted function takes profiles")
        try:
            body = accepts[SUBJECT](body)
        except ValueError as error:
            raise BusError(f"user {user}: {error}") from error
    version = version or time.time_ns()
    columns = {"version": np.array([version]), "user": texts([user]), "body": texts([body])}
    data = encode(Frame(columns, source="gateway"), subjects.record_of(SUBJECT))
    await bus.put(subjects.wire(SUBJECT, 0), data, message_id=f"{SUBJECT}/{user}/{version}")


async def keep_profile(bus: Bus, user: str, body: str) -> None:
    """Keep a profile where it can be read again, or with an empty body remove it."""
    kv = bus.kv(PROFILES)
    await (kv.put(named(user), body.encode()) if body else kv.delete(named(user)))


async def keep_channel(bus: Bus, user: str, name: str, value: bytes) -> None:
    """Keep a channel, secrets and all, or with no value remove it."""
    key = f"{named(user)}.{named(name)}"
    if len(value) > CHANNEL_BYTES_MAX:
        raise BusError(f"channel {key}: at most {CHANNEL_BYTES_MAX} bytes, found {len(value)}")
    await (bus.kv(BUCKET).put(key, value) if value else bus.kv(BUCKET).delete(key))


def named(name: str) -> str:
    """A name that may stand in a key; raises BusError."""
    if not NAME.fullmatch(name):
        raise BusError(f"expected a name of 1 to 64 letters, digits, - and _, found {name!r}")
    return name
