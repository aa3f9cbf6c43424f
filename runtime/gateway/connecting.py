"""The WebSocket's address: who may connect, and a connection from first to last."""

from __future__ import annotations

import asyncio
from typing import Any

from quart import Quart, websocket

from runtime.gateway import fanout
from runtime.gateway.answers import problem
from runtime.gateway.auth import origin_allowed
from runtime.gateway.gateway import Gateway
from runtime.gateway.hub import Client
from runtime.gateway.socket import Conversation, TooFast, write_waiting


def add(app: Quart, gateway: Gateway) -> None:
    """Add the WebSocket."""
    hub, settings = gateway.hub, gateway.settings

    @app.websocket("/ws")
    async def follow() -> Any:
        origin = websocket.headers.get("Origin", "")
        if not origin_allowed(settings, origin, websocket.host):
            return problem(403, f"origin {origin} may not connect")
        # A browser cannot send the header with a WebSocket: the token may stand in the address.
        token = websocket.headers.get("Authorization") or websocket.args.get("token", "")
        user = gateway.directory.caller(token).user
        if len(hub.clients) >= settings.websocket_connections_max or gateway.is_draining:
            return problem(503, "Max connections reached", {"Retry-After": "5"})
        await websocket.accept()
        transport = fanout.transport_of(websocket.scope)
        client = Client(user, transport, websocket.send, cursor=hub.newest)
        hub.join(client)
        writing = asyncio.create_task(write_waiting(client, lambda: client in hub.clients))
        try:
            await _converse(Conversation(hub, client, gateway.may_follow))
        except TooFast:
            client.write(fanout.close_frame(1008, "too many messages"), b"")
            if transport is None:
                await websocket.close(1008, "too many messages")
            else:
                transport.close()
        finally:
            hub.leave(client)
            writing.cancel()
        return None


async def _converse(conversation: Conversation) -> None:
    while True:
        text = await websocket.receive()
        conversation.hear(text)
