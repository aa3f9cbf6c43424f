"""Real servers for what goes out: HTTP that answers as told, SMTP that keeps what it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Request:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """An HTTP server on a free port of this machine."""

    answer: Callable[[Request], Answer]
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    pause: asyncio.Event | None = None  # until it is set nothing is answered

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Request(head[0].split()[1], headers, body)
            self.requests.append(request)
            if self.pause is not None:
                await self.pause.wait()
            status, extra, text = self.answer(request)
            lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(text)}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in extra.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + text)
            await writer.drain()


@contextlib.asynccontextmanager
async def listening(serve: Callable[..., Any]) -> AsyncIterator[int]:
    """The port of a server whose conversations are over when the block ends."""
    talking: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.create_task(talk(reader, writer)))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*talking)


@contextlib.asynccontextmanager
async def web(answer: Callable[[Request], Answer]) -> AsyncIterator[Web]:
    made = Web(answer)
    async with listening(made.serve) as made.port:
        try:
            yield made
        finally:
            if made.pause is not None:
                made.pause.set()


@dataclass
class Mail:
    """An SMTP server on a free port; `refusal` is its answer to a recipient, `no_login` to a login."""

    port: int = 0
    refusal: str = ""
    no_login: str = ""
    messages: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.upper()
            if verb.startswith("RCPT") and self.refusal:
                writer.write(self.refusal.encode() + b"\r\n")
            elif verb.startswith("EHLO"):
                writer.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            elif verb.startswith("AUTH") and self.no_login:
                writer.write(self.no_login.encode() + b"\r\n")
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                self.messages.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                writer.write(b"250 taken\r\n")
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 fine\r\n")


@contextlib.asynccontextmanager
async def mail() -> AsyncIterator[Mail]:
    made = Mail()
    async with listening(made.serve) as made.port:
        yield made
