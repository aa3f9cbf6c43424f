"""The gateway's process: its socket, its limits, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from quart import Quart

from runtime.bus import Bus
from runtime.config import Settings
from runtime.gateway import fanout
from runtime.gateway.app import create_app
from runtime.gateway.gateway import Gateway
from runtime.subjects import Subjects

MESSAGE_BYTES_MAX = 64 << 10
SEND_BUFFER_BYTES = 64 << 10  # a client that stops reading is noticed after 13 updates, not 600
UNANSWERED_MS = 20_000  # TCP_USER_TIMEOUT: a vanished client frees its socket
GOODBYE_S = 3.0  # clients have this long to take their leave
EXIT_S = 7.0  # whatever still hangs then: supervisors kill at 8


async def serve(
    settings: Settings,
    subjects: Subjects,
    url: str,
    accepts: Mapping[str, Callable[[str], str]],
    seed_rules: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then tell every client and end within EXIT_S."""
    listening = bound_socket(settings.host, settings.port)
    bus = await Bus.connect(url, "gateway")
    gateway = Gateway(settings, subjects, bus, accepts)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(gateway.run(seed_rules))
        group.create_task(_serve_until(stopping, gateway, listening, following))
    await bus.close()


async def _serve_until(
    stopping: asyncio.Event,
    gateway: Gateway,
    listening: socket.socket,
    following: asyncio.Task[None],
) -> None:
    async def shutdown() -> None:
        await stopping.wait()
        gateway.is_draining = True
        # An open connection must not keep the process: Python 3.12 waits for it for ever.
        asyncio.get_running_loop().call_later(EXIT_S, os._exit, 0)
        await say_goodbye(gateway)

    await run_server(create_app(gateway), listening, shutdown)
    following.cancel()


async def say_goodbye(gateway: Gateway) -> None:
    """Tell every client that the service restarts; cut off who does not take its leave in time."""
    clients = [*gateway.hub.clients, *gateway.following.strangers]
    for client in clients:
        client.close(1012, "restarting")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_S):
            await gateway.following.emptied()
    for client in clients:
        client.cut()


async def run_server(app: Quart, listening: socket.socket, shutdown: Callable[[], Any]) -> None:
    """Hypercorn on a socket of ours, with limits that hold."""
    fanout.install()
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]  # Hypercorn owns it from here
    config.graceful_timeout = GOODBYE_S
    config.websocket_max_message_size = MESSAGE_BYTES_MAX
    config.keep_alive_max_requests = 1_000_000
    config.accesslog = None
    config.errorlog = None
    await hypercorn_serve(app, config, shutdown_trigger=shutdown)


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError that names the port and what to do."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(AttributeError, OSError):  # Linux only
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(
            f"port {port} on {host} cannot be had: {error.strerror}; set JETSCAN_PORT"
        ) from error
    listening.listen(4096)
    listening.setblocking(False)
    return listening
