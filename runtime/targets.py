"""Where requests on behalf of users may go: only to public addresses, and to the one that was checked.

A name is looked up once per connection; if any of its addresses is not public the connection is
refused, else it is made to the first of them. So a name that answers otherwise a moment later changes
nothing (DNS rebinding). TLS still checks the certificate against the name. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpcore
import httpx

# Ways to write an IPv4 address as IPv6: what they lead to is not seen here, so none is public.
TRANSLATED = tuple(
    ipaddress.ip_network(one)
    for one in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)


GLOBAL_UNICAST = ipaddress.ip_network(
    "2000::/3"
)  # the rest of IPv6 is reserved, site-local or translated


# A lookup holds a thread until the resolver gives up; asyncio's own pool has a handful, and names whose
# servers never answer would fill it.
LOOKUPS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="lookup")


class TargetRefused(httpx.UnsupportedProtocol):
    """A target that users may not name; the text says why, without the address's path."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet.

    Not: private, loopback, link-local (cloud metadata), shared (CGNAT), unique local, multicast,
    reserved and documentation ranges (the IANA special-purpose registries), translated IPv4.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found not in GLOBAL_UNICAST or any(found in network for network in TRANSLATED):
            return False
    return found.is_global and not found.is_multicast


async def public_address(host: str, port: int) -> str:
    """The address to connect to; raises TargetRefused, or OSError if the name is not known."""
    loop = asyncio.get_running_loop()
    lookup = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await loop.run_in_executor(LOOKUPS, lookup)
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if not addresses or not all(is_public(one) for one in addresses):
        raise TargetRefused(
            f"{host}: expected a public address, found {', '.join(addresses) or 'none'}; "
            "JETSCAN_DELIVERY_PRIVATE=true allows others"
        )
    return addresses[0]


class _Checked(httpcore.AsyncNetworkBackend):
    """Connections to the address that was checked."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            address = await public_address(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host}: name not known") from error
        return await self._backend.connect_tcp(
            address, port, timeout, local_address, socket_options
        )

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """HTTPS to public addresses only."""

    def __init__(self, limits: httpx.Limits) -> None:
        super().__init__(limits=limits, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Checked(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Refuse anything but HTTPS before a connection is made."""
        if request.url.scheme != "https":
            raise TargetRefused(
                f"{request.url.host}: expected https, found {request.url.scheme}; "
                "JETSCAN_DELIVERY_PRIVATE=true allows it"
            )
        return await super().handle_async_request(request)
