"""`jetscan dev` and `jetscan scale`: the processes of one machine, started in order and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import click
import httpx

from runtime import telemetry
from runtime.bus import Bus
from runtime.config import Settings
from runtime.credentials import shown, signed
from runtime.embedded import EmbeddedError, EmbeddedNats
from runtime.embedded_postgres import EmbeddedPostgres
from runtime.embedded_valkey import EmbeddedValkey
from runtime.migrate import MigrateError, load_migrations, migrate
from runtime.provision import provision
from runtime.scaling import Bounds, Scaling
from runtime.store import Outage, Store, StoreError
from runtime.subjects import Subjects
from runtime.supervisor import Supervisor

READY_S = 30.0
STARTER_RULES = Path("rules") / "examples.json"


async def run_dev(
    settings: Settings, subjects: Subjects, feed: Sequence[str], workers: int
) -> None:
    """NATS, streams, workers, gateway and feed; until Ctrl-C, then all of it ends cleanly.

    feed    what `jetscan ingest` is given: a URL, and the files beside it
    """
    stopping = _stop_on_signals()
    data_dir = Path(settings.data_dir)
    server = None if settings.nats_url else await EmbeddedNats.start(data_dir)
    url = signed(settings.nats_url, settings.nats_user, settings.nats_password)
    url = url or (server.url if server else "")
    url_file = data_dir / "nats.url"
    url_file.parent.mkdir(parents=True, exist_ok=True)
    url_file.write_text(url, encoding="utf-8")
    port = _free_port(settings.host, settings.port)
    valkey = None if settings.redis_url else await _valkey(data_dir)
    redis_url = settings.redis_url or (valkey.url if valkey else "")
    (data_dir / "redis.url").write_text(redis_url, encoding="utf-8")
    every = settings.trace_every if "trace_every" in settings.model_fields_set else 1
    environment = {
        "JETSCAN_NATS_URL": url,
        "JETSCAN_PORT": str(port),
        "JETSCAN_DATA_DIR": str(data_dir),
        "JETSCAN_LOG_FORMAT": "json",
        "JETSCAN_TRACE_EVERY": str(every),
        "JETSCAN_REDIS_URL": redis_url,
        "JETSCAN_REDIS_URL_FILE": "",  # it was read
        "JETSCAN_DATABASE_URL": "",  # of the process `history` alone
        "JETSCAN_DATABASE_URL_FILE": "",
    }
    supervisor = Supervisor(environment, data_dir / "logs", click.echo)
    database: asyncio.Task[EmbeddedPostgres | None] | None = None
    try:
        bus = await Bus.connect(url, "dev")
        report = await provision(bus, subjects)
        click.echo(f"NATS at {shown(url)}; {len(report.changes)} changes to streams and buckets")
        for change in report.refused:
            click.echo(f"  {change}")
        for _ in range(workers):
            supervisor.start_worker("--reload")
        starter = Path(settings.functions_dir) / STARTER_RULES
        seeding = ["--seed-rules", str(starter)] if starter.exists() else []
        # The gateway starts without waiting for the database, and answers 503 where it is asked for it.
        known = settings.database_url or EmbeddedPostgres.url_in(data_dir)
        supervisor.start(
            "gateway", "gateway", *seeding, environment={"JETSCAN_DATABASE_URL": known}
        )
        supervisor.start("ingest", "ingest", *feed)
        watching = asyncio.create_task(
            supervisor.watch(bus, subjects, _scaling(settings, workers, settings.workers_max))
        )
        address = f"http://{settings.host}:{port}/"
        if await _is_ready(address, stopping):
            click.echo(f"Jetscan is live: {address}   (logs in {data_dir / 'logs'}; Ctrl-C stops)")
        elif not stopping.is_set():
            click.echo(f"the gateway is not ready after {READY_S:g} s; see {data_dir / 'logs'}")
        database = asyncio.create_task(_with_database(settings, data_dir, supervisor))
        await stopping.wait()
        click.echo("stopping")
        watching.cancel()
        await supervisor.stop_all()
        await bus.close()
    finally:
        try:
            await supervisor.stop_all()
            if database is not None:
                await _without_database(database, data_dir, supervisor)
        finally:
            url_file.unlink(missing_ok=True)
            (data_dir / "redis.url").unlink(missing_ok=True)
            if valkey is not None:
                await valkey.stop()
            if server is not None:
                await server.stop()
    click.echo("stopped; state is kept in " + str(data_dir))


async def _valkey(data_dir: Path) -> EmbeddedValkey | None:
    """What toplists are mirrored to, up in a tenth of a second; everything goes on without it."""
    try:
        return await EmbeddedValkey.start(data_dir)
    except EmbeddedError as error:
        click.echo(f"toplists are not mirrored: {error}")
        return None


async def _with_database(
    settings: Settings, data_dir: Path, supervisor: Supervisor
) -> EmbeddedPostgres | None:
    """PostgreSQL, migrated, and a process of its own for what writes to it: no worker waits for it.

    Beside everything else, which goes on without it where it cannot be had, and after it: what is live
    does not wait.
    """
    server = None
    try:
        if not settings.database_url:
            server = await EmbeddedPostgres.start(data_dir)
            server.keep(click.echo)
        url = settings.database_url or (server.url if server else "")
        store = Store(url, connections_max=1)
        try:
            await migrate(store, load_migrations(Path(settings.migrations_dir)))
        finally:
            await store.close()
    except (EmbeddedError, Outage, StoreError, MigrateError) as error:
        click.echo(f"no history is kept: {error}")
        return server
    (data_dir / "postgres.url").write_text(url, encoding="utf-8")
    known = {"JETSCAN_DATABASE_URL": url}
    supervisor.start("history", "run", "--sinks", "--reload", environment=known)
    return server


async def _without_database(
    starting: asyncio.Task[EmbeddedPostgres | None], data_dir: Path, supervisor: Supervisor
) -> None:
    """End what came up with the database, also where it came up while everything else was stopped."""
    server = await starting
    (data_dir / "postgres.url").unlink(missing_ok=True)
    await supervisor.stop_all()
    if server is not None:
        await server.stop()


def _scaling(settings: Settings, least: int, most: int) -> Scaling:
    target_s, cooldown_s = settings.lag_target_s, settings.scale_cooldown_s
    return Scaling(Bounds(least, max(least, most), target_s, cooldown_s))


async def run_scale(
    settings: Settings,
    subjects: Subjects,
    url: str,
    names: Sequence[str],
    least: int,
    most: int,
    metrics_port: int | None = None,
) -> None:
    """Workers only, against a NATS that is already there; the figures are served on `metrics_port`."""
    stopping = _stop_on_signals()
    bus = await Bus.connect(url, "scale")
    supervisor = Supervisor({"JETSCAN_NATS_URL": url}, Path(settings.data_dir) / "logs", click.echo)
    for _ in range(least):
        supervisor.start_worker(*names)
    click.echo(f"{least} workers; at most {most}, added and removed on lag; Ctrl-C hands over")
    scaling = _scaling(settings, least, most)
    watching = asyncio.create_task(supervisor.watch(bus, subjects, scaling))
    serving = None
    if metrics_port is not None:
        serving = await telemetry.serve_metrics(settings.host, metrics_port, scaling=scaling.told)
    try:
        await stopping.wait()
    finally:
        if serving is not None:
            serving.close()
        watching.cancel()
        await supervisor.stop_all()
        await bus.close()


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _free_port(host: str, wanted: int) -> int:
    """The wanted port, or, where another instance has it, a free one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    return 0


async def _is_ready(address: str, stopping: asyncio.Event) -> bool:
    async with httpx.AsyncClient(timeout=1) as client:
        for _ in range(int(READY_S / 0.2)):
            if stopping.is_set():
                return False
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get(address + "ready")).status_code == 200:
                    return True
            await asyncio.sleep(0.2)
    return False
