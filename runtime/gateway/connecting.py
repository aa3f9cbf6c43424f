"""The WebSocket's address: who may connect, and a connection from first to last."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from quart import Quart, websocket

from runtime.gateway import fanout
from runtime.gateway.access import Caller
from runtime.gateway.answers import problem
from runtime.gateway.auth import origin_allowed
from runtime.gateway.client import CLOSING_S, Client, write_waiting
from runtime.gateway.gateway import Gateway
from runtime.gateway.socket import Conversation, TooFast
from runtime.gateway.updates import JSON, MSGPACK


def add(app: Quart, gateway: Gateway) -> None:
    """Add the WebSocket."""
    following, settings = gateway.following, gateway.settings

    @app.websocket("/ws")
    async def follow() -> Any:
        origin = websocket.headers.get("Origin", "")
        if not origin_allowed(settings, origin, websocket.host):
            return problem(403, f"origin {origin} may not connect")
        token = websocket.headers.get("Authorization", "")
        if not token and "token" in websocket.args:
            if not settings.token_in_url:
                return problem(401, "a token in the address is refused: send it as first message")
            token = websocket.args["token"]
        caller = _known(gateway, token)
        if following.count >= settings.websocket_connections_max or gateway.is_draining:
            return problem(503, "Max connections reached", {"Retry-After": "5"})
        await _serve(gateway, caller)
        return None


def _known(gateway: Gateway, token: str) -> Caller | None:
    """Who connects; None: it has still to tell. A wrong token is 401."""
    if not token and gateway.settings.mode != "local":
        return None
    return gateway.directory.caller(token)


async def _serve(gateway: Gateway, caller: Caller | None) -> None:
    """A connection from its acceptance to its end."""
    following = gateway.following
    is_packed = MSGPACK.subprotocol in websocket.requested_subprotocols
    client = Client(fanout.line_of(websocket.scope), websocket.send)
    client.codec = MSGPACK if is_packed else JSON
    following.strangers.add(client)  # before anything is awaited: it counts
    writing = None
    try:
        await websocket.accept(subprotocol=MSGPACK.subprotocol if is_packed else None)
        if client.line is None:
            writing = asyncio.create_task(write_waiting(client, websocket.close))
        if caller is not None:
            following.let_in(client, caller)
        await _converse(Conversation(following, client), client)
    finally:
        following.leave(client)
        if writing is not None:
            writing.cancel()


async def _converse(conversation: Conversation, client: Client) -> None:
    """Hear what the client says until one of the two ends it."""
    try:
        while client.closed is None:
            await conversation.hear(await websocket.receive())
    except TooFast:
        client.close(1008, "too many messages")
    with contextlib.suppress(TimeoutError):  # it takes its leave, or is cut off
        async with asyncio.timeout(CLOSING_S):
            while True:
                await websocket.receive()
