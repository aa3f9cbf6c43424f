"""A REST server on loopback whose answers a test gives."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any]


class Rest:
    """An HTTP server whose answers a function gives: path and parameters to status and body."""

    def __init__(self, answers: Callable[[str, dict[str, str]], Answer]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.heads: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        address = urlsplit(head.split(" ")[1])
        given = {name: words[0] for name, words in parse_qs(address.query).items()}
        self.asked.append((address.path, given))
        self.heads.append(head)
        status, told = self.answers(address.path, given)
        body = json.dumps(told).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n".encode())
        writer.write(b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def answering(
    answers: Callable[[str, dict[str, str]], Answer],
) -> AsyncIterator[tuple[Rest, str]]:
    rest = Rest(answers)
    async with await asyncio.start_server(rest.serve, "127.0.0.1", 0) as server:
        yield rest, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
