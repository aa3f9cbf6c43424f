"""Where calls may come from: hosts, origins of browsers, and addresses behind proxies."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from runtime.config import Settings, listed

LOCAL_USER = "default"
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
HOPS_MAX = 16


class Unauthorized(Exception):
    """No valid token; the text says what was expected."""


def host_allowed(settings: Settings, host: str) -> bool:
    """Whether an instance that needs no token may be called by this name.

    A foreign page can point its own name at this machine (DNS rebinding) and is then of our origin. So
    only names that nobody can register: addresses, names without a dot, .localhost and .local; or listed.
    """
    if settings.mode != "local":
        return True
    name = _host_in(f"//{host}").rstrip(".")
    if "." not in name or name.endswith((".localhost", ".local")):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        known = [*listed(settings.origins), settings.public_url]
        return name in {urlsplit(one).hostname for one in known}
    return True


def origin_allowed(settings: Settings, origin: str, host: str) -> bool:
    """Whether a page of `origin` may call: our own, a listed one, or in local mode a local one."""
    if not origin:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:  # no address at all
        return False
    if parts.netloc == host and host_allowed(settings, host):
        return True
    if origin in listed(settings.origins) or origin == settings.public_url.rstrip("/"):
        return True
    return settings.mode == "local" and parts.hostname in LOCAL_HOSTS


def _host_in(address: str) -> str:
    """The host of an address; empty where it is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


class Proxies:
    """The proxies whose word counts."""

    def __init__(self, settings: Settings) -> None:
        self._networks = [ipaddress.ip_network(one) for one in listed(settings.proxies)]

    def address(self, remote: str, forwarded: str) -> str:
        """Where a request comes from: of X-Forwarded-For the last that is none of our proxies."""
        found = remote
        for one in reversed(forwarded.split(",")[-HOPS_MAX:]):
            if not self.is_one(found):
                break
            told = one.strip()
            if not _is_address(told):
                break
            found = told
        return found

    def is_one(self, address: str) -> bool:
        """Whether an address is a trusted proxy's."""
        if not self._networks or not _is_address(address):
            return False
        found = ipaddress.ip_address(address)
        return any(found in one for one in self._networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
