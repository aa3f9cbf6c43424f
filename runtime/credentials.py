"""Who this process is to NATS: a user and a password beside the address, which is shown without them.

A server with the permissions of `jetscan export nats-permissions` lets a user listen to inboxes under
its own name only, so what one part is answered no other part hears.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

INBOX = "_INBOX"
CREDENTIALS = re.compile(r"(?<=://)([^@/,:]+):([^@/,]*)@")
HIDDEN = re.compile(r"(?<=://)(?:(?!,\w+://).)*(?=@)")  # to the last @ before the next address
NAME = re.compile(r"[A-Za-z0-9_-]+")


class AddressError(ValueError):
    """An address that nobody can sign in at; the text says what was expected."""


@dataclass(frozen=True)
class Address:
    """Servers, and who connects to them; a user is empty where nobody has to sign in, or by token."""

    servers: list[str]
    user: str = ""
    password: str = ""

    @property
    def inbox(self) -> str:
        """What the subjects of answers to this user begin with."""
        return f"{INBOX}.{self.user}" if NAME.fullmatch(self.user) else INBOX


def address_of(url: str) -> Address:
    """The parts of nats://USER:PASSWORD@HOST:PORT,nats://..., where only the first needs credentials."""
    found = CREDENTIALS.search(url)
    if found is None:
        return Address(url.split(","))
    servers = CREDENTIALS.sub("", url).split(",")
    return Address(servers, unquote(found[1]), unquote(found[2]))


def signed(url: str, user: str, password: str) -> str:
    """The address with credentials, unless it has some or there is none; raises AddressError."""
    if not user or not url or "@" in url:
        return url
    if "://" not in url:
        raise AddressError(
            f"nats_url: expected nats://HOST:PORT for {user} to sign in, found {url}"
        )
    return url.replace("://", f"://{quote(user, safe='')}:{quote(password, safe='')}@", 1)


def shown(url: str) -> str:
    """The address as it may be read by anybody, also where a password should have been quoted."""
    return HIDDEN.sub(
        lambda found: found[0].partition(":")[0] + ":***" if ":" in found[0] else "***", url
    )
