"""A real Chromium on a real gateway: the page's side of the wire, with the test as the functions behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from runtime.bus import Bus
from runtime.embedded import EmbeddedNats
from runtime.frames import Frame, encode, texts
from runtime.provision import provision
from runtime.subjects import Subjects
from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
expect.set_options(timeout=15_000)  # a machine that does much else at once
START_NS = 1_767_623_400 * 10**9  # 2026-01-05 09:30 in New York, when the first alert is said
LEAF = {"text": "change_pct_5m > 1", "value": 1.52, "threshold": 1.0, "truth": True, "margin": 0.52}


class Wire:
    """The network between the page and the gateway, which can be cut and mended."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def mend(self) -> None:
        """Take connections; on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection, and take none."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        self._open -= {writer, far_writer}


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@dataclass
class Served:
    """A gateway in a process of its own, and what functions would say behind it."""

    bus: Bus
    subjects: Subjects
    wire: Wire
    port: int
    log: Path
    number: int = 0  # of the newest alert
    update: int = 0  # of the newest ranking

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.wire.port}"

    async def alert(self, symbol: str = "AAPL", rule: str = "fast", **more: Any) -> dict[str, Any]:
        """An alert as the alerts function writes it; returns its columns."""
        self.number += 1
        told = {
            "ts_ns": START_NS + self.number * 60 * 10**9,
            "price": 187.25,
            "id": f"id-{self.number}",
            "rule_id": rule,
            "rule_name": f"Rule {rule}",
            "values": json.dumps({"metrics": {"change_pct_5m": 1.52}}),
            "number": self.number,
            "kind": "fired",
            "strength": 0.52,
            "explain": json.dumps({"leaves": [LEAF]}),
            "causes": json.dumps({"stream": "MARKET", "trade_ids": [7]}),
            "reason": "",
            **more,
        }
        columns = {
            name: texts([value]) if isinstance(value, str) else np.array([value])
            for name, value in told.items()
        }
        frame = Frame(columns, [symbol], np.zeros(1, dtype=int), "alerts")
        record = self.subjects.record_of("alerts.filtered")
        await self.bus.put("alerts.filtered", encode(frame, record))
        return told

    async def toplist(self, symbols: Sequence[str], name: str = "gainers_5m") -> None:
        """A ranking as the toplists function writes it."""
        self.update += 1
        count = len(symbols)
        columns = {
            "list": texts([name] * count),
            "ts_ns": np.full(count, START_NS + self.update * 10**9),
            "number": np.full(count, self.update),
            "value": np.arange(count, 0, -1.0),
            "price": np.arange(1.0, count + 1) + self.update / 100,
            "volume": np.full(count, 250_000.0),
            "rank": np.arange(1, count + 1),
        }
        frame = Frame(columns, list(symbols), np.arange(count), "toplists")
        record = self.subjects.record_of("toplists.updated")
        await self.bus.publish("toplists.updated", encode(frame, record))


@contextlib.asynccontextmanager
async def serving(
    folder: Path, subjects: Subjects, environment: dict[str, str]
) -> AsyncIterator[Served]:
    """NATS, the streams, and `jetscan gateway` with an environment of its own."""
    server = await EmbeddedNats.start(folder / "nats")
    bus = await Bus.connect(server.url, "test")
    await provision(bus, subjects)
    port = _free_port()
    log = folder / "gateway.log"
    settings = {
        "JETSCAN_NATS_URL": server.url,
        "JETSCAN_PORT": str(port),
        "JETSCAN_DATA_DIR": str(folder / "data"),
        **environment,
    }
    with log.open("wb") as output:
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runtime.cli", "gateway"),
            env={**os.environ, "PYTHONPATH": str(ROOT), **settings},
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    wire = Wire(port)
    try:
        await _until_ready(port, log)
        await wire.mend()
        yield Served(bus, subjects, wire, port, log)
    finally:
        await wire.cut()
        gateway.terminate()
        await gateway.wait()
        await bus.close()
        await server.stop()


def _free_port() -> int:
    from runtime.gateway.server import bound_socket

    with contextlib.closing(bound_socket("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def _until_ready(port: int, log: Path) -> None:
    async with httpx.AsyncClient() as http, asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"http://127.0.0.1:{port}/ready")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine: nothing is said about the page")
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        await found.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory, subjects: Subjects
) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("page"), subjects, {}) as found:
        yield found


@dataclass
class Seen:
    """What a browser complained about while a page was open."""

    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        # That a request was refused is told by the page itself, where it matters.
        is_request = message.text.startswith(("Failed to load resource", "WebSocket connection"))
        if message.type == "error" and not is_request:
            self.complaints.append(message.text)


@contextlib.asynccontextmanager
async def opened(browser: Browser, address: str, **options: Any) -> AsyncIterator[Page]:
    """The page in a context of its own; what the browser complains about fails the test."""
    context = await browser.new_context(
        **{"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark", **options}
    )
    context.set_default_timeout(20_000)
    page = await context.new_page()
    seen = Seen()
    seen.watch(page)
    try:
        await page.goto(address)
        yield page
    finally:
        await context.close()
    assert seen.complaints == []


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, served: Served) -> AsyncIterator[Page]:
    async with opened(browser, served.address) as found:
        await found.wait_for_selector("body[data-ready]")
        await found.wait_for_selector('body[data-connection="open"]')
        yield found
