"""Passwords: argon2id, beside the event loop, a few at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LENGTH_MIN, LENGTH_MAX = 12, 1024
AT_ONCE = 2  # of 64 MiB each
WAITING_MAX = 32  # about a second of work; more are turned away

Value = TypeVar("Value")


class Busy(RuntimeError):
    """Too many passwords wait to be checked."""


class Passwords:
    """Hashes and checks passwords with the parameters of RFC 9106 for little memory."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._waiting = 0
        self._nobodys = ""  # the hash that unknown users are checked against

    async def hash(self, password: str) -> str:
        """What is kept of a password; raises Busy."""
        return await self._beside(self._hasher.hash, password)

    async def is_right(self, password: str, kept: str | None) -> bool:
        """Whether it is the password; no slower nor faster where there is none. Raises Busy."""
        if not kept:
            if not self._nobodys:
                self._nobodys = await self.hash("nobody's password")
            await self._beside(self._check, password, self._nobodys)
            return False
        return await self._beside(self._check, password, kept)

    def is_outdated(self, kept: str) -> bool:
        """Whether it was hashed with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, password: str, kept: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _beside(self, work: Callable[..., Value], *values: str) -> Value:
        if self._waiting >= WAITING_MAX:
            raise Busy("too many sign-ins at once; try again in a second")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *values)
        finally:
            self._waiting -= 1


def fault(password: str, user_id: str = "", email: str = "") -> str:
    """What is wrong with a new password; empty: nothing."""
    if not LENGTH_MIN <= len(password) <= LENGTH_MAX:
        return f"password: expected {LENGTH_MIN} to {LENGTH_MAX} characters"
    if password.lower() in {user_id.lower(), email.lower()} or len(set(password)) < 4:
        return (
            "password: expected one that is not the name, and of more than 3 different characters"
        )
    return ""
