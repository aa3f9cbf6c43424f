"""The `jetscan` command: every command prints for people and, with --json, for programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, date, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import click

from runtime import telemetry, tracing
from runtime.bus import Bus, BusError, Closed
from runtime.config import SECRETS, ConfigError, Settings, load_settings, sample_env
from runtime.credentials import AddressError, shown, signed
from runtime.embedded import EmbeddedError
from runtime.loader import Plan, load_plan
from runtime.migrate import MigrateError
from runtime.store import Outage, Store, StoreError
from runtime.subjects import PARTITIONS_MAX, Subjects, SubjectsError, load_subjects

SERVICES = {"run": "worker"}  # other commands are called like what they run
TRACED = {"run", "ingest", "gateway", "probe"}
EXIT_USAGE = 2
EXIT_FAILED = 1
NS_LEAST, NS_MOST = 10**17, 92 * 10**17  # 1973 and 2261; less is seconds, milliseconds or a year
NS_DIGITS = re.compile(r"\.(\d{7,9})(?!\d)")
STORE_ERRORS = (Outage, StoreError, MigrateError)


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End with a message on standard error."""
    click.echo(f"jetscan: {message}", err=True)
    sys.exit(code)


def settings_and_subjects() -> tuple[Settings, Subjects]:
    """The configuration, or an end with what is wrong in it."""
    try:
        settings = load_settings()
        subjects = load_subjects(Path(settings.subjects_file))
    except (ConfigError, SubjectsError) as error:
        fail(str(error), EXIT_USAGE)
    command = click.get_current_context().info_name or "jetscan"
    service = SERVICES.get(command, command)
    telemetry.configure(settings.log_level, settings.log_format, service)
    if settings.otlp_url and command in TRACED:
        try:
            tracing.export_to(settings.otlp_url, service)
        except tracing.TracingError as error:
            fail(str(error), EXIT_USAGE)
    return settings, subjects


def plan_of(
    settings: Settings, subjects: Subjects, overrides: dict[str, dict[str, Any]] | None = None
) -> Plan:
    """The functions on disk, with their settings and `overrides` of them."""
    told = {name: dict(values) for name, values in settings.functions.items()}
    for name, values in (overrides or {}).items():
        told.setdefault(name, {}).update(values)
    return load_plan(Path(settings.functions_dir), subjects, told)


def nats_url(settings: Settings) -> str:
    """Where NATS is: the setting, or the embedded server of a `jetscan dev` on this data directory."""
    if settings.nats_url:
        try:
            return signed(settings.nats_url, settings.nats_user, settings.nats_password)
        except AddressError as error:
            fail(f"{error}; set JETSCAN_NATS_URL", EXIT_USAGE)
    file = Path(settings.data_dir) / "nats.url"
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        fail(
            f"no NATS: JETSCAN_NATS_URL is not set and no `jetscan dev` runs on {settings.data_dir}; "
            "start one, or set JETSCAN_NATS_URL=nats://HOST:PORT"
        )


def database_url(settings: Settings) -> str:
    """Where PostgreSQL is: the setting, or the embedded one of a `jetscan dev` on this data directory."""
    if settings.database_url:
        return settings.database_url
    file = Path(settings.data_dir) / "postgres.url"
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        fail(
            "no database: JETSCAN_DATABASE_URL is not set and no `jetscan dev` runs on "
            f"{settings.data_dir}; start one, or set JETSCAN_DATABASE_URL=postgresql://USER@HOST/NAME"
        )


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine; what NATS did not do ends with its reason, not with a stack."""
    try:
        return asyncio.run(main)
    except BaseExceptionGroup as group:
        known, unknown = group.split(
            (BusError, AddressError, EmbeddedError, OSError, *STORE_ERRORS)
        )
        if unknown is not None or known is None:
            raise
        fail("; ".join(dict.fromkeys(str(error) for error in _leaves(known))))
    except BrokenPipeError:
        raise  # whoever read what is printed has seen enough, as `head` has: click ends without a word
    except (BusError, AddressError, EmbeddedError, OSError, *STORE_ERRORS) as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


@contextlib.asynccontextmanager
async def connected(settings: Settings, name: str = "cli") -> AsyncIterator[Bus]:
    """A connection for one command."""
    bus = await Bus.connect(nats_url(settings), name, connect_s=3)
    try:
        yield bus
    finally:
        await bus.close()


def on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM and SIGINT instead of dying half way."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def show(rows: list[dict[str, Any]], columns: list[str], as_json: bool) -> None:
    """Rows as JSON, or as a table with these columns."""
    if as_json:
        click.echo(json.dumps(rows, default=str))
        return
    table = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [
        max([len(column), *(len(line[k]) for line in table)]) for k, column in enumerate(columns)
    ]
    click.echo(
        "  ".join(column.ljust(width) for column, width in zip(columns, widths, strict=True))
    )
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


Command = Callable[..., Any]


def known_options(command: Command, reference: str = "", kind: Any = None) -> Command:
    """Add --daily, --reference and --minutes: what is known of symbols beside their ticks."""
    facts = "Facts by symbol, splits, renames, or a folder of `jetscan reference fetch`"
    file = click.Path(exists=True, dir_okay=False)
    for name, text, type_ in (
        ("--minutes", "Minute bars of the past, oldest file first; may be repeated.", file),
        ("--reference", f"{facts}{reference}; may be repeated.", kind or click.Path(exists=True)),
        ("--daily", "Daily bars of days before; may be repeated.", file),
    ):
        command = click.option(name, multiple=True, type=type_, help=text)(command)
    return command


def live_options(command: Command) -> Command:
    """The same for what runs on: reference data may be fetched, and is kept new."""
    return known_options(command, ", or sql, or a vendor (alpaca, 'massive?symbols=A,B')", str)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="jetscan")
def main() -> None:
    """Jetscan: a real-time market scanner made of event functions on NATS JetStream.

    Settings come from JETSCAN_* environment variables; `jetscan settings` shows them.
    """


@main.command()
@click.option(
    "--env", "is_env", is_flag=True, help="Print a file of environment variables to fill in."
)
@json_option
def settings(is_env: bool, as_json: bool) -> None:
    """Show every setting, its value and what it means."""
    if is_env:
        click.echo("\n".join(sample_env()))
        return
    found, _ = settings_and_subjects()
    rows = [
        {"setting": f"JETSCAN_{name.upper()}", "value": _shown(name, value), "meaning": meaning}
        for name, value, meaning in found.described()
    ]
    show(rows, ["setting", "value", "meaning"], as_json)


def _shown(name: str, value: Any) -> Any:
    if name in ("nats_url", "database_url"):
        return shown(value)
    return "(set)" if name in SECRETS and value else value


# -- functions


@main.command()
@json_option
def check(as_json: bool) -> None:
    """Load and check every function without a server; exit 1 if anything is wrong."""
    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    if as_json:
        faults = [{"file": f.file, "line": f.line, "message": f.message} for f in plan.faults]
        click.echo(json.dumps({"functions": len(plan.functions), "faults": faults}))
    else:
        for fault in plan.faults:
            click.echo(str(fault), err=True)
        for chain in plan.chains:
            names = " -> ".join(one.name for one in chain.functions)
            click.echo(f"chain {chain.name} on {chain.stream} ({len(chain.partitions)}): {names}")
        click.echo(f"{len(plan.functions)} functions, {len(plan.faults)} faults")
    sys.exit(EXIT_FAILED if plan.faults else 0)


@main.command()
@json_option
def functions(as_json: bool) -> None:
    """List the functions with their subjects, state and version."""
    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    rows = [
        {
            "function": one.name,
            "chain": chain.name if (chain := plan.chain(one.name)) else "(sink)",
            "reads": ",".join(one.reads),
            "writes": ",".join(one.writes),
            "state_bytes_per_symbol": one.row_bytes,
            "version": one.version,
            "file": f"{one.file}:{one.line}",
        }
        for one in plan.functions
    ]
    show(rows, list(rows[0]) if rows else ["function"], as_json)
    for fault in plan.faults:
        click.echo(f"refused: {fault}", err=True)


@main.command()
@click.argument("names", nargs=-1)
@click.option("--reload", "is_reloading", is_flag=True, help="Load changed functions on save.")
@click.option("--metrics-port", type=int, default=None, help="Serve /metrics, /health and /ready.")
@click.option("--sinks", "only_sinks", is_flag=True, help="Host sinks only.")
def run_command(
    names: tuple[str, ...], is_reloading: bool, metrics_port: int | None, only_sinks: bool
) -> None:
    """Host functions in this process: the chosen NAMES (functions or chains), or all."""
    from runtime.worker import Worker, run_worker

    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    known = {one.name for one in plan.functions} | {chain.name for chain in plan.chains}
    unknown = [name for name in names if name not in known]
    if unknown:
        fail(f"no function {', '.join(unknown)}; there are {', '.join(sorted(known))}", EXIT_USAGE)

    async def host() -> None:
        working: list[Worker] = []

        def ready(worker: Worker) -> None:
            working.append(worker)
            on_signals(worker.stop)

        if metrics_port is not None:
            is_ready = lambda: any(one.is_ready for one in working)  # noqa: E731
            await telemetry.serve_metrics(found.host, metrics_port, is_ready)
        url = nats_url(found)
        await run_worker(found, subjects, url, names, is_reloading, ready, only_sinks)

    run(host())


run_command.name = "run"
main.add_command(run_command, "run")


@main.command()
@click.option("--dry-run", is_flag=True, help="Show the differences and change nothing.")
@click.option("--check", is_flag=True, help="As --dry-run, and fail if there is a difference.")
@click.option("--allow-shrink", is_flag=True, help="Also apply what may drop stored messages.")
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    help="At least so many of every stream and bucket; 3 in production. Else 1, or as many as there are.",
)
@json_option
def provision(
    dry_run: bool, check: bool, allow_shrink: bool, replicas: int | None, as_json: bool
) -> None:
    """Create and update streams and buckets from subjects.yaml; shows the differences first."""
    from runtime.provision import provision as apply

    found, subjects = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            return await apply(bus, subjects, dry_run or check, allow_shrink, replicas)

    report = run(work())
    budget = report.budget
    if as_json:
        changes = [{"change": str(c), "refused": c.refused} for c in report.changes]
        click.echo(
            json.dumps({"changes": changes, "budget": vars(budget), "applied": report.applied})
        )
    else:
        for change in report.changes:
            click.echo(str(change))
        click.echo(
            f"{len(report.changes)} differences, {len(report.refused)} refused; "
            f"{'applied' if report.applied else 'shown only'}"
        )
        click.echo(
            f"budget: {budget.file_bytes / (1 << 30):.1f} GiB on disk, {budget.streams} streams, "
            f"{budget.consumers} consumers of chains"
        )
    sys.exit(EXIT_FAILED if report.refused or (check and report.changes) else 0)


@main.command("partitions")
@click.argument("number", type=click.IntRange(1, PARTITIONS_MAX))
@json_option
def partitions_command(number: int, as_json: bool) -> None:
    """Change the number of partitions: saved state is shared out anew, subjects.yaml is changed.

    Everything has to stand still: feeds, gateways, workers, and no input may be unanswered.
    """
    from runtime.partitions import PartitionsError, change

    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    if plan.faults:
        fail("\n".join(map(str, plan.faults)))

    async def work() -> list[str]:
        async with connected(found) as bus:
            return await change(bus, subjects, number, plan, Path(found.subjects_file))

    try:
        units = run(work())
    except PartitionsError as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps({"partitions": number, "units": units}))
    else:
        click.echo(f"{number} partitions; state shared out to {len(units)} units")


@main.command("migrate")
@click.option("--dry-run", is_flag=True, help="Show what is pending and change nothing.")
@click.option("--status", "is_status", is_flag=True, help="Show every migration and its state.")
@json_option
def migrate_command(dry_run: bool, is_status: bool, as_json: bool) -> None:
    """Bring the database to the newest migration; several may run at once."""
    from runtime.migrate import load_migrations, migrate, status

    found, _ = settings_and_subjects()

    async def work(store: Store) -> Any:
        files = load_migrations(Path(found.migrations_dir))
        if is_status:
            return await status(store, files)
        return await migrate(store, files, dry_run)

    steps = run(with_store(found, work))
    show([vars(step) for step in steps], ["number", "name", "state", "applied_at"], as_json)


async def with_store(settings: Settings, work: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
    """What `work` makes of the database."""
    store = Store(database_url(settings), connections_max=1)
    try:
        return await work(store)
    finally:
        await store.close()


@main.command("outcomes")
@click.option("--rule", default="", help="Only this rule (its id).")
@json_option
def outcomes_command(rule: str, as_json: bool) -> None:
    """How the alerts of each rule went: returns in percent of the alert's price."""
    found, _ = settings_and_subjects()
    statement = "SELECT * FROM rule_outcomes WHERE $1 = '' OR rule_id = $1 ORDER BY rule_id"
    rows = run(with_store(found, lambda store: store.fetch(statement, rule)))
    columns = ["rule_id", "alerts", "symbols"]
    for horizon in ("1m", "5m", "15m", "60m", "close"):
        columns += [f"{what}_{horizon}_pct" for what in ("hits", "mean", "median")]
    columns += ["best_pct", "worst_pct"]
    if not as_json:
        rows = [{name: _rounded(value) for name, value in row.items()} for row in rows]
    show(rows, columns, as_json)


def _rounded(value: Any) -> Any:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else value


# -- what others are told of the code


@main.group("export")
def export_group() -> None:
    """What the functions and the wire mean to others, in their own formats."""


@export_group.command("nats-permissions")
@json_option
def export_nats_permissions(as_json: bool) -> None:
    """Users of nats-server, each with what its part needs; passwords come from the environment."""
    from runtime.exports import nats_permissions

    told = nats_permissions.permissions_of(*exported_plan())
    click.echo(json.dumps(told, indent=2) if as_json else nats_permissions.configuration(told))


@export_group.command("helm-values")
def export_helm_values() -> None:
    """Values for `functions:` of the Helm chart: a Deployment for every chain and file of sinks."""
    from runtime.exports.helm_values import helm_values

    click.echo(json.dumps(helm_values(*exported_plan()), indent=2))


@export_group.command("jsonschema")
def export_jsonschema() -> None:
    """A JSON Schema of every record, as one event in plain JSON."""
    from runtime.exports.json_schema import json_schema

    _, subjects = settings_and_subjects()
    click.echo(json.dumps(json_schema(subjects), indent=2))


@export_group.command("asyncapi")
def export_asyncapi() -> None:
    """AsyncAPI 3 of the wire: channels, messages, who writes and who reads."""
    from runtime.exports.asyncapi import asyncapi

    told = asyncapi(*exported_plan(), version=metadata.version("jetscan"))
    click.echo(json.dumps(told, indent=2))


def exported_plan() -> tuple[Plan, Subjects]:
    """The functions that are told of; with a fault among them nothing is told."""
    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    if plan.faults:
        fail("\n".join(map(str, plan.faults)))
    return plan, subjects


# -- backups


@main.command("backup")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_option
def backup_command(folder: Path, as_json: bool) -> None:
    """Write streams, buckets and the database into a new FOLDER; it holds every secret: guard it."""
    from runtime.backup import back_up

    found, subjects = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            return await back_up(bus, subjects, folder, _database_if_any(found), _told_aloud)

    _show_parts(_tried_backup(work()), as_json)


@main.command("restore")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace what the system holds now.")
@json_option
def restore_command(folder: Path, overwrite: bool, as_json: bool) -> None:
    """Bring back what `jetscan backup` wrote, into an empty system; stop every worker before."""
    from runtime.backup import restore

    found, subjects = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            database = _database_if_any(found)
            return await restore(bus, subjects, folder, database, overwrite, _told_aloud)

    _show_parts(_tried_backup(work()), as_json)


def _database_if_any(settings: Settings) -> str:
    has_embedded = (Path(settings.data_dir) / "postgres.url").is_file()
    return database_url(settings) if settings.database_url or has_embedded else ""


def _told_aloud(text: str) -> None:
    click.echo(text, err=True)


def _tried_backup(work: Coroutine[Any, Any, Any]) -> Any:
    from runtime.backup import BackupError

    try:
        return run(work)
    except (BackupError, OSError) as error:  # a full disk
        fail(str(error))


def _show_parts(parts: Any, as_json: bool) -> None:
    show([vars(part) for part in parts], ["name", "file", "bytes", "sha256"], as_json)


# -- reference data


@main.group("reference")
def reference_group() -> None:
    """What is known of symbols beside their ticks."""


@reference_group.command("load")
@click.argument("table")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def reference_load(table: str, file: Path, as_json: bool) -> None:
    """Write a CSV or Parquet FILE into TABLE; rows it does not take are told, the others are written."""
    from runtime.reference import TABLES, load
    from runtime.tables import TableError

    if table not in TABLES:
        fail(f"no table {table}; there are {', '.join(TABLES)}", EXIT_USAGE)
    found, _ = settings_and_subjects()
    try:
        loaded = run(with_store(found, lambda store: load(store, table, file)))
    except TableError as error:
        fail(str(error))
    bad = [vars(row) for row in loaded.bad]
    if as_json:
        click.echo(json.dumps({"table": table, "rows": loaded.rows, "bad": bad}))
    else:
        for row in loaded.bad:
            click.echo(f"{file}: row {row.place}: {row.reason}", err=True)
        click.echo(f"{table}: {loaded.rows} rows taken, {len(bad)} left out")
    sys.exit(EXIT_FAILED if bad else 0)


@reference_group.command("fetch")
@click.argument("source")
@click.option("--into", required=True, help="A folder, or sql for the database.")
@click.option("--table", "tables", multiple=True, help="Only this table; may be repeated.")
@click.option("--since", default="", help="From this date on; else what came since the last fetch.")
@json_option
def reference_fetch(
    source: str, into: str, tables: tuple[str, ...], since: str, as_json: bool
) -> None:
    """Ask SOURCE, a vendor, for what is known of symbols: alpaca, massive, 'coinbase?symbols=BTC-USD', ...

    Keys come from the environment, as for a feed. Asked again it fetches what came since.
    """
    from runtime.fetching import (
        SQL,
        Fetched,
        calendar_differences,
        fetch_into,
        open_vendor,
        store_folder,
        today_of,
    )
    from runtime.providers import ProviderError
    from runtime.tables import TableError

    found, _ = settings_and_subjects()
    try:
        vendor, symbols = open_vendor(source)
        first = date.fromisoformat(since) if since else None
    except (ProviderError, ValueError) as error:
        fail(str(error), EXIT_USAGE)
    unknown = [one for one in tables if one not in vendor.tables]
    if unknown:
        has = ", ".join(vendor.tables)
        fail(f"{vendor.name} has no table {', '.join(unknown)}; it has {has}", EXIT_USAGE)
    folder = Path(found.data_dir) / "reference" / vendor.name if into == SQL else Path(into)
    wanted = tables or tuple(vendor.tables)

    async def work() -> list[Fetched]:
        now = datetime.now(UTC)
        told = await asyncio.to_thread(
            fetch_into, folder, vendor, symbols, wanted, now, _tell_rows, first
        )
        if into == SQL:
            told = await with_store(found, lambda store: store_folder(store, folder, told))
        return told

    try:
        fetched = run(work())
        today = today_of(vendor, datetime.now(UTC))
        differences = [] if tables else calendar_differences(vendor, found, today)
    except (TableError, ProviderError) as error:
        fail(str(error))
    columns = ["table", "rows", "left_out", "problem"]
    show([{name: getattr(one, name) for name in columns} for one in fetched], columns, as_json)
    for one in fetched:
        for reason in one.refused:
            click.echo(f"{one.table}: left out: {reason}", err=True)
    for said in differences:
        click.echo(said, err=True)
    is_failed = any(one.problem and (tables or one.is_passing) for one in fetched)
    sys.exit(EXIT_FAILED if is_failed else 0)


def _tell_rows(table: str, rows: int) -> None:
    """How far a long fetch is, to people who watch."""
    if sys.stderr.isatty():
        click.echo(f"\r{table}: {rows} rows ", nl=False, err=True)


# -- looking and acting


@main.command()
@json_option
def lag(as_json: bool) -> None:
    """How far every partition is behind, who owns it, and how old its snapshot is."""
    from runtime.lag import ask_lag_s

    found, subjects = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            return await ask_lag_s(bus, subjects)

    told = run(work())
    columns = [
        "unit",
        "worker",
        "epoch",
        "pending",
        "behind_s",
        "snapshot_age_s",
        "paused",
        "version",
    ]
    units = sorted(told.units, key=lambda unit: (unit["chain"], unit["partition"] or 0))
    show(units, columns, as_json)
    for fault in sorted(told.faults):
        click.echo(f"refused: {fault}", err=True)


@main.command()
@click.option("--gateway", "url", default="", help="Default http://JETSCAN_HOST:JETSCAN_PORT.")
@json_option
def doctor(url: str, as_json: bool) -> None:
    """Look at a deployment end to end, change nothing, and say what to do; exit 1 if something fails."""
    from runtime.doctor import FAIL, Addresses, examine, summary

    found, subjects = settings_and_subjects()
    addresses = Addresses(
        nats=found.nats_url or _told_in(found, "nats.url"),
        database=found.database_url or _told_in(found, "postgres.url"),
        redis=found.redis_url or _told_in(found, "redis.url"),
        gateway=url or f"http://{found.host}:{found.port}",
        data_dir=found.data_dir,
        migrations_dir=found.migrations_dir,
    )
    findings = run(examine(addresses, subjects, plan_of(found, subjects)))
    if as_json:
        click.echo(json.dumps(summary(findings)))
    else:
        for one in findings:
            click.echo(f"{one.state:4}  {one.check:12}  {one.text}")
            if one.to_do:
                click.echo(f"{'':20}-> {one.to_do}")
    sys.exit(EXIT_FAILED if any(one.state == FAIL for one in findings) else 0)


def _told_in(settings: Settings, name: str) -> str:
    """An address that a `jetscan dev` on this data directory wrote; empty where none runs."""
    file = Path(settings.data_dir) / name
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""


@main.command()
@click.argument("name")
def pause(name: str) -> None:
    """Hold a function (and the chain it is in) where it stands; nothing is lost."""
    _set_paused(name, True)


@main.command()
@click.argument("name")
def resume(name: str) -> None:
    """Let a paused function go on."""
    _set_paused(name, False)


def _set_paused(name: str, is_paused: bool) -> None:
    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    known = {one.name for one in plan.functions} | {chain.name for chain in plan.chains}
    if name not in known and is_paused:
        fail(f"no function {name}; there are {', '.join(sorted(known))}", EXIT_USAGE)

    async def work() -> None:
        async with connected(found) as bus:
            kv = bus.kv("functions")
            await (kv.put(f"pause.{name}", b"1") if is_paused else kv.delete(f"pause.{name}"))

    run(work())
    chain = plan.chain(name)
    others = [one.name for one in chain.functions if one.name != name] if chain else []
    beside = f" (with {', '.join(others)}, hosted in one chain)" if others else ""
    click.echo(f"{name} {'paused' if is_paused else 'resumed'}{beside}")


@main.command("shadow")
@click.argument("name")
@click.option(
    "--functions",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder with the new version; JETSCAN_FUNCTIONS_DIR if left out.",
)
@click.option("--seconds", default=0.0, type=click.FloatRange(0), help="0: until Ctrl-C.")
@click.option("--promote", is_flag=True, help="Have the version that was compared take over.")
@click.option("--accept-differences", is_flag=True, help="Promote although events differed.")
@json_option
def shadow_command(
    name: str,
    folder: Path | None,
    seconds: float,
    promote: bool,
    accept_differences: bool,
    as_json: bool,
) -> None:
    """Run a new version of NAME beside the live one, on a fork of its state, and compare what they say.

    NAME is a function or a chain. Nobody else sees what it says. Exit 1 if anything differs.
    """
    from runtime import shadow

    found, subjects = settings_and_subjects()
    new = found.model_copy(update={"functions_dir": str(folder or found.functions_dir)})
    chain = plan_of(new, subjects).chain(name)
    if chain is None:
        fail(f"no function or chain {name} in {new.functions_dir}; see jetscan check", EXIT_USAGE)

    async def compare() -> dict[str, Any]:
        async with connected(found) as bus:
            stopping = asyncio.Event()
            on_signals(stopping.set)
            if seconds:
                asyncio.get_running_loop().call_later(seconds, stopping.set)
            beside = shadow.Shadow(bus, subjects, chain)
            await beside.begin()
            click.echo(f"version {chain.version} of {chain.name} runs as a shadow", err=True)
            await beside.run(stopping)
            report = await beside.compared()
            await shadow.note_report(bus, report)
            return report

    async def take_over() -> dict[str, Any]:
        async with connected(found) as bus:
            await shadow.check_promotion(bus, chain, accept_differences)
            copied = shadow.copy_functions(chain.functions, Path(found.functions_dir))
            live = plan_of(found, subjects).chain(chain.name)
            late = await shadow.promoted(
                bus, chain.name, live.version if live else "", len(chain.partitions)
            )
            return {"chain": chain.name, "copied": copied, "not_yet": late}

    try:
        told = run(take_over() if promote else compare())
    except shadow.ShadowError as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps(told, default=str))
    elif promote:
        click.echo(f"{told['chain']}: {', '.join(told['copied']) or 'no file'} copied")
    else:
        _show_shadow(told)
    if told.get("not_yet"):
        late = ", ".join(told["not_yet"])
        fail(f"{late}: still another version; restart workers without --reload, one by one")
    sys.exit(EXIT_FAILED if told.get("differ") or told.get("dead") else 0)


def _show_shadow(told: dict[str, Any]) -> None:
    rows = [{"subject": base, **counts} for base, counts in told["subjects"].items()]
    show(rows, ["subject", "live", "shadow", "differ"], False)
    for column, count in told["columns"].items():
        click.echo(f"{column}: {count}")
    for one in told["shown"]:
        click.echo(json.dumps(one, default=str))
    click.echo(f"{told['inputs']} inputs, {told['differ']} events differ, {told['dead']} set aside")
    for note in told["notes"]:
        click.echo(note, err=True)


@main.group()
def dead() -> None:
    """Dead letters: frames that were set aside."""


@dead.command("list")
@click.option("--function", default="", help="Only letters of this function.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def dead_list(function: str, limit: int, as_json: bool) -> None:
    """List dead letters, oldest first."""
    from runtime.deadletters import letters

    found, _ = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            return await letters(bus, function, limit)

    rows = [_letter_row(one) for one in run(work())]
    show(rows, ["letter", "stored", "function", "subject", "position", "reason"], as_json)


def _letter_row(one: Any) -> dict[str, Any]:
    from runtime.shapes import rfc3339

    return {
        "letter": one.sequence,
        "stored": rfc3339(one.stored_ns)[:19] + "Z",
        "function": one.function,
        "subject": one.subject,
        "position": one.position,
        "partition": one.partition,
        "version": one.version,
        "reason": one.reason,
        "bytes": len(one.frame),
    }


@dead.command("show")
@click.argument("letter", type=int)
@json_option
def dead_show(letter: int, as_json: bool) -> None:
    """Show one dead letter: error, stack, and the frame as far as it can be read."""
    from runtime.deadletters import frame_shown
    from runtime.deadletters import letter as read

    found, subjects = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            return await read(bus, letter)

    one = run(work())
    row = {**_letter_row(one), "trace": one.trace}
    row["frame"], row["events"] = frame_shown(one, subjects)
    if as_json:
        click.echo(json.dumps(row, default=str))
        return
    for name, value in row.items():
        click.echo(f"{name}: {value}")


@dead.command("redrive")
@click.argument("letters", nargs=-1, type=int, required=True)
def dead_redrive(letters: tuple[int, ...]) -> None:
    """Put letters back: the function that failed sees its frame again, in stream order."""
    from runtime.deadletters import redrive

    found, _ = settings_and_subjects()

    async def work() -> None:
        async with connected(found) as bus:
            for letter in letters:
                click.echo(f"{letter} -> {await redrive(bus, letter)}")

    run(work())


@dead.command("drop")
@click.argument("letters", nargs=-1, type=int, required=True)
def dead_drop(letters: tuple[int, ...]) -> None:
    """Remove letters for good."""
    from runtime.deadletters import drop

    found, _ = settings_and_subjects()

    async def work() -> None:
        async with connected(found) as bus:
            for letter in letters:
                await drop(bus, letter)
                click.echo(f"{letter} dropped")

    run(work())


@main.group()
def users() -> None:
    """Who is told of which alerts, and where."""


@users.command("set")
@click.argument("user")
@click.argument("profile", type=click.File())
def users_set(user: str, profile: Any) -> None:
    """Take over a user's profile from a JSON file (- is the standard input)."""
    _tell_profile(user, profile.read())


@users.command("remove")
@click.argument("user")
def users_remove(user: str) -> None:
    """Tell a user nothing any more."""
    _tell_profile(user, "")


def _tell_profile(user: str, body: str) -> None:
    from runtime.users import keep_profile, tell_profile

    found, subjects = settings_and_subjects()
    accepts = _accepts(plan_of(found, subjects))

    async def work() -> None:
        async with connected(found) as bus:
            await tell_profile(bus, subjects, accepts, user, body)
            await keep_profile(bus, user, body)

    run(work())
    click.echo(f"{user} {'set' if body else 'removed'}")


@users.command("channel")
@click.argument("user")
@click.argument("name")
@click.argument("channel", type=click.File(), required=False)
def users_channel(user: str, name: str, channel: Any) -> None:
    """Keep a channel of a user from a JSON file (- is the standard input); without one, remove it."""
    from runtime.users import keep_channel

    found, _ = settings_and_subjects()
    value = channel.read().encode() if channel else b""

    async def work() -> None:
        async with connected(found) as bus:
            await keep_channel(bus, user, name, value)

    run(work())
    click.echo(f"{user}.{name} {'kept' if value else 'removed'}")


@users.command("export")
@click.argument("user")
def users_export(user: str) -> None:
    """Print everything that is kept of USER as JSON, without secrets."""
    from runtime.personal import told

    found, _ = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            return await _with_store_if_any(found, lambda store: told(bus, store, user))

    click.echo(json.dumps(run(work()), indent=2, default=str))


@users.command("erase")
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
def users_erase(user: str, yes: bool) -> None:
    """Remove everything that is kept of USER; streams and backups forget by age."""
    from runtime.gateway.job_folders import JobFolders
    from runtime.personal import erase

    if not yes:
        click.confirm(f"Remove rules, lists, channels, account and history of {user}?", abort=True)
    found, _ = settings_and_subjects()
    jobs = JobFolders(Path(found.data_dir) / "backtests").folder(user)

    async def work() -> Any:
        async with connected(found) as bus:
            return await _with_store_if_any(found, lambda store: erase(bus, store, user, jobs))

    counts = run(work())
    click.echo(
        f"{user}: " + (", ".join(f"{n} of {k}" for k, n in counts.items()) or "nothing kept")
    )


async def _with_store_if_any(
    settings: Settings, work: Callable[[Store | None], Coroutine[Any, Any, Any]]
) -> Any:
    url = _database_if_any(settings)
    if not url:
        return await work(None)
    store = Store(url, connections_max=1)
    try:
        return await work(store)
    finally:
        await store.close()


# -- feeds, gateway, everything


@main.command()
@click.argument("urls", nargs=-1, required=True)
@click.option("--resume", "is_resuming", is_flag=True, help="Continue a file after the last clock.")
@click.option(
    "--standby", multiple=True, help="A URL that takes over when the ones before are silent."
)
@click.option("--metrics-port", type=int, default=None, help="Serve /metrics, /health and /ready.")
@live_options
def ingest(
    urls: tuple[str, ...],
    is_resuming: bool,
    standby: tuple[str, ...],
    metrics_port: int | None,
    daily: tuple[str, ...],
    reference: tuple[str, ...],
    minutes: tuple[str, ...],
) -> None:
    """Feed market data: sim://?symbols=1000&seed=7, file:///trades.parquet?speed=max ..."""
    from runtime.ingest import run_ingest

    found, subjects = settings_and_subjects()
    days, bars = ([Path(one) for one in several] for several in (daily, minutes))
    url = nats_url(found)

    async def feed() -> None:
        if metrics_port is not None:
            await telemetry.serve_metrics(found.host, metrics_port)
        await run_ingest(
            found, subjects, url, list(urls), is_resuming, days, reference, bars, standby
        )

    run(feed())


@main.command("chaos-feed")
@click.argument(
    "vendor", type=click.Choice(["alpaca", "massive", "databento", "binance", "coinbase"])
)
@click.option(
    "--script",
    default="ends",
    show_default=True,
    help="What goes wrong and when, such as drop@500,away:3@2000,error:406@4000, or a script by name.",
)
@click.option(
    "--rate", default=200.0, show_default=True, type=click.FloatRange(1, 20_000), help="Prints/s."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0, 2**31))
@click.option("--port", default=0, type=click.IntRange(0, 65_535), help="0: one that is free.")
@click.option("--seconds", default=0.0, type=click.FloatRange(0), help="0: until Ctrl-C.")
@click.option("--list", "is_listing", is_flag=True, help="Show the scripts and faults, and end.")
@json_option
def chaos_feed(
    vendor: str,
    script: str,
    rate: float,
    seed: int,
    port: int,
    seconds: float,
    is_listing: bool,
    as_json: bool,
) -> None:
    """Play a vendor's server on this machine that drops, resets, lies and falls silent.

    It speaks the vendor's protocol on loopback, live and when asked again, with a market of its own. The
    command that reads from it is printed.
    """
    from runtime.chaos import faults
    from runtime.chaos.server import play
    from runtime.providers import ProviderError

    if is_listing:
        rows = [{"script": name, "faults": text} for name, text in faults.SCRIPTS.items()]
        show(rows, ["script", "faults"], as_json)
        if not as_json:
            click.echo((faults.__doc__ or "").partition("\n")[2])
        return
    try:
        wanted = faults.parse_script(script)
    except ProviderError as error:
        fail(str(error), EXIT_USAGE)

    telemetry.configure("info", "console")

    def begun(url: str, keys: tuple[str, ...]) -> None:
        if as_json:
            click.echo(json.dumps({"url": url, "keys": keys}))
        else:
            given = "".join(f"{name}=any " for name in keys)
            click.echo(f"{given}jetscan ingest '{url}'\n(Ctrl-C ends)")

    try:
        counts = run(play(vendor, wanted, rate, seed, port, seconds, begun))
    except OSError as error:
        fail(f"port {port}: {error.strerror}; leave --port out for one that is free")
    if as_json:
        click.echo(json.dumps(counts))
    else:
        show(
            [{"what": name, "times": count} for name, count in counts.items()],
            ["what", "times"],
            False,
        )


@main.group("universe")
def universe_group() -> None:
    """The symbols that running feeds follow: look, add, remove."""


source_option = click.option(
    "--source",
    default="",
    help="One feed, such as alpaca://sip; all that can carry them if left out.",
)


@universe_group.command("show")
@click.option("--source", default="", help="Only this feed.")
@json_option
def universe_show(source: str, as_json: bool) -> None:
    """Every symbol of every feed, whether the vendor acknowledged it, and why not."""
    from runtime.universe import feeds_of

    found, _ = settings_and_subjects()

    async def work() -> Any:
        async with connected(found) as bus:
            return await feeds_of(bus)

    feeds = [one for one in run(work()) if source in ("", one["source"])]
    if not feeds:
        fail(f"no feed {source} runs" if source else "no feed runs")
    rows = [row for one in feeds for row in _universe_rows(one)]
    show(rows, ["source", "symbol", "state", "reason"], as_json)


def _universe_rows(feed: dict[str, Any]) -> list[dict[str, Any]]:
    states = [("acknowledged", feed["acknowledged"], ""), ("unanswered", feed["unanswered"], "")]
    states += [("refused", one["symbols"], one["reason"]) for one in feed["refused"]]
    rows = [
        {"source": feed["source"], "symbol": symbol, "state": state, "reason": reason}
        for state, symbols, reason in states
        for symbol in symbols
    ]
    none = {"source": feed["source"], "symbol": "", "state": "none", "reason": feed["changes"]}
    return rows or [none]


@universe_group.command("add")
@click.argument("symbols", nargs=-1, required=True)
@source_option
@json_option
def universe_add(symbols: tuple[str, ...], source: str, as_json: bool) -> None:
    """Have feeds follow symbols, without a restart and after one."""
    _change_universe(symbols, (), source, as_json)


@universe_group.command("remove")
@click.argument("symbols", nargs=-1, required=True)
@source_option
@json_option
def universe_remove(symbols: tuple[str, ...], source: str, as_json: bool) -> None:
    """Have feeds leave symbols, without a restart and after one."""
    _change_universe((), symbols, source, as_json)


@universe_group.command("reset")
def universe_reset() -> None:
    """Have every feed follow what its URL says, and no more."""
    from runtime.universe import reset

    found, _ = settings_and_subjects()

    async def work() -> None:
        async with connected(found) as bus:
            await reset(bus)

    run(work())
    click.echo("feeds follow their URLs")


def _change_universe(
    add: tuple[str, ...], remove: tuple[str, ...], source: str, as_json: bool
) -> None:
    from runtime import universe

    found, _ = settings_and_subjects()
    try:
        added, removed = universe.spelled(add), universe.spelled(remove)
        source = universe.checked_source(source)

        async def work() -> list[str]:
            async with connected(found) as bus:
                taking = universe.check(await universe.feeds_of(bus), added, source)
                await universe.change(bus, added, removed, source)
                return taking

        taking = run(work())
    except universe.UniverseError as error:
        fail(str(error), EXIT_USAGE)
    if as_json:
        told = {"add": added, "remove": removed, "source": source, "feeds": taking}
        click.echo(json.dumps(told))
        return
    verb, symbols = ("follow", added) if added else ("leave", removed)
    who = ", ".join(taking) or "no feed runs; the next that start"
    click.echo(f"{who}: {verb} {', '.join(symbols)}")


@main.command()
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write to.")
@click.option("--seed", default=7, show_default=True, type=click.IntRange(0, 2**31))
@click.option(
    "--dirt",
    default="clean",
    show_default=True,
    type=click.Choice(["clean", "usual", "bad"]),
    help="Late and odd prints, duplicates, corrections; the truth stays that of the clean market.",
)
@json_option
def sim(out: str, seed: int, dirt: str, as_json: bool) -> None:
    """Write the labelled market as Parquet: trades, quotes, daily bars, and what truly happened.

    Seven days of 26 symbols with scripted breakouts, rejections, halts, gaps and splits; truth.parquet
    has every moment at which an alert metric became true, so that any scanner can be measured.
    """
    from runtime.providers.labelled.files import write_market
    from runtime.tables import TableError

    try:
        rows = write_market(Path(out), seed, dirt)
    except (TableError, OSError) as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps({"out": out, "seed": seed, "dirt": dirt, "rows": rows}))
        return
    for name, count in rows.items():
        click.echo(f"{count:9,}  {Path(out) / name}.parquet")


# -- accounts


@main.group("accounts")
def account_group() -> None:
    """Who may sign in: people with passwords and roles, in the database."""


@account_group.command("list")
@json_option
def accounts_list(as_json: bool) -> None:
    """Show every account."""
    from runtime.gateway.account_command import listed

    found, _ = settings_and_subjects()
    rows = run(with_store(found, listed))
    show(rows, ["user_id", "name", "email", "roles", "enabled", "seen_at"], as_json)


@account_group.command("add")
@click.argument("user")
@click.option("--name", default="", help="The name people read.")
@click.option("--email", default="", help="A mail address.")
@click.option("--admin", "is_admin", is_flag=True, help="May administer as well.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def accounts_add(user: str, name: str, email: str, is_admin: bool, password_stdin: bool) -> None:
    """Make an account that signs in with a password."""
    from runtime.gateway.account_command import added

    found, _ = settings_and_subjects()
    password = _new_password(password_stdin)
    _tell_account(found, lambda store: added(store, user, name, email, is_admin, password))
    click.echo(f"{user} may sign in")


@account_group.command("password")
@click.argument("user")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def accounts_password(user: str, password_stdin: bool) -> None:
    """Set a password; every sign-in of the account ends."""
    from runtime.gateway.account_command import with_password

    found, _ = settings_and_subjects()
    password = _new_password(password_stdin)
    _tell_account(found, lambda store: with_password(store, user, password))
    click.echo(f"{user} has a new password")


@account_group.command("remove")
@click.argument("user")
def accounts_remove(user: str) -> None:
    """Remove an account, its sign-ins and its API keys."""
    from runtime.gateway.account_command import removed

    found, _ = settings_and_subjects()
    _tell_account(found, lambda store: removed(store, user))
    click.echo(f"{user} is removed")


def _new_password(is_stdin: bool) -> str:
    if is_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def _tell_account(found: Settings, work: Callable[[Store], Coroutine[Any, Any, Any]]) -> None:
    from runtime.gateway.accounts import Refused

    try:
        run(with_store(found, work))
    except Refused as error:
        fail(str(error), EXIT_USAGE)


@main.command()
@click.option(
    "--seed-rules", type=click.Path(exists=True), help="Starter rules for an empty bucket."
)
def gateway(seed_rules: str | None) -> None:
    """Serve REST, the WebSocket and the page."""
    from runtime.gateway.server import serve

    found, subjects = settings_and_subjects()
    accepts = _accepts(plan_of(found, subjects))
    run(serve(found, subjects, nats_url(found), accepts, seed_rules))


def _accepts(plan: Plan) -> dict[str, Callable[[str], str]]:
    """The checks of texts that people write, by subject."""
    return {
        base: accept for one in plan.functions for base, accept in one.declaration.accepts.items()
    }


@main.command("watch")
@click.option("--url", default="", help="Address; default ws://JETSCAN_HOST:JETSCAN_PORT/ws.")
@click.option("--token-file", type=click.File(), help="A file with a bearer token; - reads it.")
@click.option("--after", type=click.IntRange(0), help="Begin after this alert; 0: all held.")
@click.option("--symbol", "symbols", multiple=True, help="Alerts of this symbol; may be repeated.")
@click.option("--rule", "rules", multiple=True, help="Alerts of this rule; may be repeated.")
@click.option("--watchlist", "watchlists", multiple=True, help="Alerts of its symbols.")
@click.option("--toplist", "toplists", multiple=True, help="A toplist; may be repeated.")
@click.option("--bars", multiple=True, help="The running bar of a symbol; may be repeated.")
@click.option("--metrics", multiple=True, help="SYMBOL:NAME,NAME; may be repeated.")
@click.option("--functions", is_flag=True, help="How the functions are; for admins.")
@click.option("--count", default=0, help="End after so many messages.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value a line.")
def watch_command(
    url: str,
    token_file: Any,
    after: int | None,
    count: int,
    as_json: bool,
    **named: Any,
) -> None:
    """Follow alerts, toplists, bars and metrics of a gateway; goes on where it was when that restarts."""
    from runtime.client import Feed, Refused
    from runtime.watch import Watch, watch

    found, _ = settings_and_subjects()
    token = token_file.read().strip() if token_file else ""
    feed = Feed(url or f"ws://{found.host}:{found.port}/ws", token, after)
    try:
        run(watch(feed, Watch(**named), click.echo, as_json, count))
    except (Refused, ValueError) as error:
        fail(str(error))


@main.command("probe")
@click.option("--url", default="", help="Address; default http://JETSCAN_HOST:JETSCAN_PORT.")
@click.option("--token-file", type=click.File(), help="A file with a bearer token; - reads it.")
@click.option(
    "--every", "every_s", default=15.0, show_default=True, type=click.FloatRange(0.1, 3600)
)
@click.option("--count", default=0, type=click.IntRange(0), help="End after so many probes.")
@click.option("--metrics-port", type=int, default=None, help="Serve /metrics, /health and /ready.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value a line.")
def probe_command(
    url: str,
    token_file: Any,
    every_s: float,
    count: int,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Measure a live deployment: trades of a symbol of our own until their alert is at a client.

    Exit 1 if a probe was lost.
    """
    from runtime.client import Refused
    from runtime.probe import Answer, ProbeError, run_probe

    found, _ = settings_and_subjects()
    token = token_file.read().strip() if token_file else ""
    answers: list[Answer] = []

    def say(one: Answer) -> None:
        answers[:] = [*answers[-999:], one]
        took = "lost" if one.took_s is None else f"{one.took_s * 1000:.1f} ms"
        click.echo(json.dumps(one.told()) if as_json else took)

    async def work() -> None:
        if metrics_port is not None:
            await telemetry.serve_metrics(found.host, metrics_port)
        async with connected(found, "probe") as bus:
            address = url or f"http://{found.host}:{found.port}"
            await run_probe(bus, address, token, every_s, count, say)

    try:
        run(work())
    except (ProbeError, Refused) as error:
        fail(str(error))
    sys.exit(EXIT_FAILED if any(one.took_s is None for one in answers) else 0)


@main.command()
@click.option("--feed", default="sim://?symbols=500&seed=7&warm=5m", show_default=True)
@click.option("--workers", default=None, type=click.IntRange(1, 64), help="Workers to begin with.")
@live_options
def dev(
    feed: str,
    workers: int | None,
    daily: tuple[str, ...],
    reference: tuple[str, ...],
    minutes: tuple[str, ...],
) -> None:
    """Everything on this machine: embedded NATS and PostgreSQL, functions, feed, gateway and page."""
    from runtime.dev import run_dev

    found, subjects = settings_and_subjects()
    options = [("--daily", daily), ("--reference", reference), ("--minutes", minutes)]
    known = [word for name, files in options for file in files for word in (name, file)]
    run(run_dev(found, subjects, [feed, *known], workers or found.workers_min))


@main.command()
@click.argument("names", nargs=-1)
@click.option("--min", "least", type=click.IntRange(1, 64), default=None, help="Fewest workers.")
@click.option("--max", "most", type=click.IntRange(1, 64), default=None, help="Most workers.")
@click.option("--metrics-port", type=int, default=None, help="Serve /metrics and /scaling.")
def scale(
    names: tuple[str, ...], least: int | None, most: int | None, metrics_port: int | None
) -> None:
    """Run several worker processes on this machine, added and removed on lag."""
    from runtime.dev import run_scale

    found, subjects = settings_and_subjects()
    low = least or found.workers_min
    high = max(low, most or found.workers_max)
    run(run_scale(found, subjects, nats_url(found), names, low, high, metrics_port))


@main.command()
@click.option("--trades", multiple=True, type=click.Path(exists=True), help="Trades.")
@click.option("--bars", multiple=True, type=click.Path(exists=True), help="Minute bars instead.")
@click.option("--stored", is_flag=True, help="Minute and daily bars of the database instead.")
@click.option(
    "--rules", multiple=True, type=click.Path(exists=True), help="Rules as JSON, or one as text."
)
@click.option("--toplists", type=click.Path(exists=True), help="JSON: a list of toplists.")
@click.option("--from", "from_", default="", help="First date, or event time.")
@click.option("--to", default="", help="Last date, or event time before which it ends.")
@click.option("--symbols", default="", help="Only these, separated by commas.")
@click.option("--indicators", is_flag=True, help="With bars: write their indicators as well.")
@click.option(
    "--report", default="both", show_default=True, type=click.Choice(["md", "html", "both", "none"])
)
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder to write to.")
@click.option(
    "--progress",
    "progress_file",
    type=click.Path(dir_okay=False),
    help="A file that says how far it is: events done, events in all.",
)
@click.option(
    "--processes", type=click.IntRange(1, 64), help="At most so many; cores, up to 4, if not said."
)
@known_options
@json_option
def backtest(
    trades: tuple[str, ...],
    bars: tuple[str, ...],
    stored: bool,
    rules: tuple[str, ...],
    toplists: str | None,
    from_: str,
    to: str,
    symbols: str,
    indicators: bool,
    report: str,
    out: str,
    progress_file: str | None,
    processes: int | None,
    daily: tuple[str, ...],
    reference: tuple[str, ...],
    minutes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the live functions over recorded trades or bars: alerts, outcomes and a report into a folder."""
    from runtime import backtest_command
    from runtime.backtest_input import Asked

    if (bool(trades) + bool(bars) + stored) != 1:
        fail("expected one of --trades FILE, --bars FILE and --stored", EXIT_USAGE)
    given = {
        "trades": trades,
        "bars": bars,
        "daily": daily,
        "reference": reference,
        "minutes": minutes,
    }
    files = {name: [Path(one) for one in several] for name, several in given.items()}
    from_ns, to_ns = _range_ns(from_, to)
    wanted = tuple(one.strip() for one in symbols.split(",") if one.strip())
    found, subjects = settings_and_subjects()
    asked = Asked(**files, from_ns=from_ns, to_ns=to_ns, symbols=wanted)
    job = backtest_command.Job(
        asked,
        Path(out),
        [Path(one) for one in rules],
        Path(toplists) if toplists else None,
        report,
        indicators or bool(trades),
        database_url(found) if stored else "",
        processes or 0,
    )
    progress = _progress(as_json, "trades" if trades else "bars")
    if progress_file:
        progress = _progress_in(Path(progress_file))
    try:
        told, dead = backtest_command.run(
            job, partial(plan_of, found, subjects), subjects, progress
        )
    except (*backtest_command.ERRORS, *STORE_ERRORS, OSError) as error:
        fail(str(error))
    click.echo(json.dumps(told) if as_json else backtest_command.summary(told, out))
    for letter in dead[:5]:
        click.echo(f"dead letter of {letter['function']}: {letter['reason']}", err=True)
    sys.exit(EXIT_FAILED if dead else 0)


@main.command("parity")
@click.option("--from", "from_", default="", help="First date, or event time.")
@click.option("--to", default="", help="Last date, or event time before which it ends.")
@json_option
def parity_command(from_: str, to: str, as_json: bool) -> None:
    """Compare the alerts of a live deployment with a replay of its market; exit 1 if they differ.

    Run it with the functions and settings of the deployment: other code says other alerts.
    """
    from runtime.parity import ParityError, parity

    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    from_ns, to_ns = _range_ns(from_, to)

    async def work() -> Any:
        async with connected(found) as bus:
            progress = _progress(as_json, "messages")
            return await parity(bus, subjects, plan, from_ns, to_ns, progress)

    try:
        compared = run(work())
    except ParityError as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps(vars(compared), default=str))
    else:
        click.echo(compared.line)
        for one in compared.differences:
            click.echo("{time} {symbol} {rule_id} {kind} {id}: {difference}".format(**one))
    for note in compared.notes:
        click.echo(note, err=True)
    sys.exit(EXIT_FAILED if compared.differ else 0)


def _range_ns(first: str, last: str) -> tuple[int, int]:
    """Event times from, and before which, something is asked for; a date is 05:00 UTC to 05:00 UTC.

    That is night in New York, whose last session of a date ends at 01:00 UTC.
    """
    from_ns = _range_end_ns("--from", first, 5) if first else 0
    to_ns = _range_end_ns("--to", last, 29) if last else NS_MOST
    if from_ns >= to_ns:
        fail(f"--from {first} --to {last}: expected a range that ends after it begins", EXIT_USAGE)
    return from_ns, to_ns


def _range_end_ns(option: str, text: str, hours: int) -> int:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return _time_ns(text, option) + hours * 3_600_000_000_000
    return _time_ns(text, option)


@main.command()
@click.option(
    "--trades", multiple=True, type=click.Path(exists=True), help="Trades, Parquet or CSV."
)
@click.option("--bars", multiple=True, type=click.Path(exists=True), help="Minute bars instead.")
@known_options
@click.option("--names", default="all", help="Names separated by commas, or all.")
@click.option(
    "--at", "times", help="Event times separated by commas: ISO (UTC where it says no zone), or ns."
)
@click.option(
    "--out", type=click.Path(dir_okay=False), help="A Parquet file: symbol, ts_ns, name, value."
)
@click.option("--list", "is_list", is_flag=True, help="Show what --names are, or everything.")
@click.option("--markdown", is_flag=True, help="With --list: as in docs/metrics.md.")
@json_option
def metrics(
    trades: tuple[str, ...],
    bars: tuple[str, ...],
    daily: tuple[str, ...],
    reference: tuple[str, ...],
    minutes: tuple[str, ...],
    names: str,
    times: str | None,
    out: str | None,
    is_list: bool,
    markdown: bool,
    as_json: bool,
) -> None:
    """Values of metrics as of event times, from recorded trades or minute bars."""
    from runtime.metrics import Asked, MetricsError, values_at, write_values
    from runtime.providers import ProviderError
    from runtime.tables import TableError, check_writable

    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    if plan.faults:
        fail("\n".join(map(str, plan.faults)))
    is_whole = is_list and names == "all"
    table, answering = _metric_table(plan, "" if is_whole else names)
    if is_list:
        _show_metrics(table, markdown, as_json)
        return
    watch = "*" if names == "all" else " ".join(str(row["name"]) for row in table)
    plan = plan_of(found, subjects, {answering: {"watch": watch, "toplists": "none"}})
    if times is None or out is None or bool(trades) == bool(bars):
        fail("expected --at TIME, --out FILE and either --trades FILE or --bars FILE; or --list")
    at_ns = sorted({_time_ns(text.strip()) for text in times.split(",") if text.strip()})
    if not at_ns:
        fail("--at: expected at least one time, such as 2018-01-02T15:30:00Z")
    files = [
        [Path(one) for one in several] for several in (trades, bars, daily, reference, minutes)
    ]
    started = time.monotonic()
    try:
        check_writable(Path(out))  # rather now than after all the work
        asked = Asked([str(row["name"]) for row in table], at_ns, *files)
        values = values_at(plan, subjects, asked, _progress(as_json))
        write_values(Path(out), values)
    except (MetricsError, ProviderError, TableError, OSError, ValueError) as error:
        fail(str(error))
    told: dict[str, float] = {
        "values": len(values["value"]),
        "symbols": len(set(values["symbol"])),
        "times": len(at_ns),
    }
    told["seconds"] = round(time.monotonic() - started, 3)
    click.echo(json.dumps(told) if as_json else ", ".join(f"{v} {k}" for k, v in told.items()))
    if not told["values"]:
        click.echo("no values: nothing these names need was known at these times", err=True)


def _metric_table(plan: Plan, names: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of the vocabulary for names (none: all of it), and the function that answers for metrics."""
    for one in plan.functions:
        accept = one.declaration.accepts.get("ask.metrics")
        if accept is not None:
            try:
                return list(json.loads(accept(names))), one.name
            except ValueError as error:
                fail(f"--names: {error}; see jetscan metrics --list")
    fail("no function answers ask.metrics; see jetscan functions")


def _show_metrics(table: list[dict[str, Any]], markdown: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(table))
    elif markdown:
        from runtime.metric_page import metric_page

        click.echo("\n".join(metric_page(table)))
    else:
        for row in table:
            told = row["order"] if row["kind"] == "toplist" else row["unit"]
            click.echo(f"{row['name']:36} {told:14} {row.get('formula', row.get('metric'))}")


def _time_ns(text: str, option: str = "--at") -> int:
    """A time as ns; ends the command where it is none, or lies outside what ns of 64 bits can say."""
    expected = "expected nanoseconds or an ISO time such as 2018-01-02T15:30:00Z"
    if text.isdecimal():
        if not NS_LEAST <= int(text) <= NS_MOST:
            fail(f"{option} {text}: {expected}; as nanoseconds this is no time from 1973 to 2261")
        return int(text)
    digits = NS_DIGITS.search(text)  # more than datetime knows
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text}: {expected}")
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp()) * 1_000_000_000
    found = whole + (int(digits[1].ljust(9, "0")) if digits else moment.microsecond * 1_000)
    if abs(found) > NS_MOST:
        fail(f"{option} {text}: expected a year from 1678 to 2261")
    return found


def _progress(is_quiet: bool, what: str = "trades") -> Callable[[int, int], None]:
    """Shows how far a long run is and how long it will still take, on a terminal only."""
    if is_quiet or not sys.stderr.isatty():
        return _say_nothing
    began = time.monotonic()

    def tell(done: int, total: int) -> None:
        left_s = (time.monotonic() - began) * (total - done) / done if done else 0.0
        left = f", {left_s:,.0f} s left" if done < total else ""
        click.echo(f"\r{done:,} of {total:,} {what}{left}   ", nl=done >= total, err=True)

    return tell


def _progress_in(file: Path) -> Callable[[int, int], None]:
    """Writes how far a long run is into a file, for whoever started it; never half a line."""

    def tell(done: int, total: int) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(f"{done} {total}\n", encoding="utf-8")
        fresh.replace(file)

    return tell


def _say_nothing(_: int, __: int) -> None:
    """Progress for programs."""


@main.command("why")
@click.argument("rule")
@click.argument("symbol")
@click.option("--at", "time_text", help="Event time: ISO (UTC where it says no zone), or ns.")
@click.option(
    "--rules", "rules_file", type=click.Path(exists=True), help="Rules as JSON, or the text of one."
)
@click.option("--trades", multiple=True, type=click.Path(exists=True), help="Files to replay.")
@known_options
@json_option
def why_command(
    rule: str,
    symbol: str,
    time_text: str | None,
    rules_file: str | None,
    trades: tuple[str, ...],
    daily: tuple[str, ...],
    reference: tuple[str, ...],
    minutes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Why RULE does not fire for SYMBOL: every value, threshold and margin, now or at a recorded time.

    Now: the running deployment is asked. --at: what it recorded is replayed up to then, rule changes
    where they happened. --trades: files are replayed, with --rules or the starter rules.
    """
    from runtime.backtest_input import InputError, control_body
    from runtime.providers import ProviderError, backtest_events
    from runtime.tables import TableError
    from runtime.why import (
        Question,
        WhyError,
        ask_live,
        from_files,
        from_stream,
        lines,
        starter_rules,
    )

    found, subjects = settings_and_subjects()
    if not trades and (daily or reference or minutes or (rules_file and not time_text)):
        fail("--daily, --reference, --minutes and --rules are for replays: name --trades, or --at")
    question = Question(rule, symbol, _time_ns(time_text) if time_text else 0)
    plan = plan_of(found, subjects)
    starter = starter_rules(Path(found.functions_dir)) if trades and not rules_file else None
    rules_path = Path(rules_file) if rules_file else starter
    try:
        rules, _ = control_body(plan, [rules_path] if rules_path else [], None)
    except InputError as error:
        fail(str(error))
    progress = _progress(as_json, "trades" if trades else "messages")

    async def ask() -> dict[str, Any]:
        async with connected(found) as bus:
            if question.at_ns:
                return await from_stream(bus, subjects, plan, question, rules, progress)
            return await ask_live(bus, subjects, question)

    try:
        if trades:
            known = [[Path(one) for one in several] for several in (daily, reference, minutes)]
            events = backtest_events(list(trades), progress, *known)
            told = from_files(plan, subjects, question, events, rules)
        else:
            told = run(ask())
    except (WhyError, ProviderError, TableError, OSError) as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps(told))
    elif "fault" in told:
        fail("; ".join(lines(told)))
    else:
        click.echo("\n".join(lines(told)))
    sys.exit(EXIT_FAILED if "fault" in told else 0)


@main.group("rules")
def rule_group() -> None:
    """Rules as text or JSON: check them, read them back, turn them over."""


def _rules_told(asked: str) -> dict[str, list[dict[str, Any]]]:
    from runtime.rule_answers import RulesError, answers

    try:
        return answers(plan_of(*settings_and_subjects()), asked)
    except RulesError as error:
        fail(str(error))


def _show_rules(asked: str, field: str) -> None:
    """A field of every rule; faults go to standard error and end with 1."""
    from runtime.rule_answers import lines

    told = _rules_told(asked)
    for line in lines(told, field):
        click.echo(line)
    for fault in told["faults"]:
        click.echo(fault["error"], err=True)
    sys.exit(EXIT_FAILED if told["faults"] else 0)


@rule_group.command("check")
@click.argument("asked", metavar="FILE|-|TEXT")
@json_option
def rules_check(asked: str, as_json: bool) -> None:
    """Check rules: their text as it is understood, or what is wrong and where."""
    if not as_json:
        _show_rules(asked, "text")
    told = _rules_told(asked)
    click.echo(json.dumps(told))
    sys.exit(EXIT_FAILED if told["faults"] else 0)


@rule_group.command("read")
@click.argument("asked", metavar="FILE|-|TEXT")
def rules_read(asked: str) -> None:
    """Read rules back in English."""
    _show_rules(asked, "english")


@rule_group.command("flip")
@click.argument("asked", metavar="FILE|-|TEXT")
def rules_flip(asked: str) -> None:
    """The mirror image of rules: what is up becomes down."""
    from runtime.rule_answers import lines

    told = _rules_told(asked)
    still = [rule for rule in told["rules"] if rule["no_flip"]]
    reasons = [f"{rule['text']}: no mirror image: {rule['no_flip']}" for rule in still]
    faults = [fault["error"] for fault in told["faults"]]
    for line in lines({"rules": [rule for rule in told["rules"] if rule["flip"]]}, "flip"):
        click.echo(line)
    for reason in reasons + faults:
        click.echo(reason, err=True)
    sys.exit(EXIT_FAILED if reasons or faults else 0)


# -- writing functions


@main.command("new")
@click.argument("name")
@click.option("--reads", multiple=True, required=True, help="A subject; may be repeated.")
@click.option("--writes", multiple=True, help="A subject; none: a sink. May be repeated.")
@json_option
def new_command(name: str, reads: tuple[str, ...], writes: tuple[str, ...], as_json: bool) -> None:
    """Begin a function: a module that loads, a test that passes, and a page to fill in."""
    from runtime.developing import scaffold

    found, subjects = settings_and_subjects()
    asked, folder = scaffold.Wanted(name, reads, writes), Path(found.functions_dir)
    try:
        begun = scaffold.begin(asked, subjects, folder, lambda: plan_of(found, subjects))
    except (scaffold.ScaffoldError, OSError) as error:
        fail(str(error), EXIT_USAGE)
    paths = [str(path) for path in begun]
    if as_json:
        click.echo(json.dumps({"function": name, "files": paths}))
    else:
        click.echo("\n".join(paths))


@main.command("test")
@click.argument("name")
@click.option(
    "--trades", multiple=True, required=True, type=click.Path(exists=True), help="Parquet or CSV."
)
@click.option(
    "--check",
    "checked",
    default=1_000,
    show_default=True,
    type=click.IntRange(0, 1_000_000),
    help="Try cuts, crashes and a second run on so many trades.",
)
@click.option("--show", default=10, show_default=True, type=click.IntRange(0, 100_000))
@known_options
@json_option
def test_command(
    name: str,
    trades: tuple[str, ...],
    checked: int,
    show: int,
    daily: tuple[str, ...],
    reference: tuple[str, ...],
    minutes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run function NAME over recorded trades: what it says, what it costs, whether it keeps its promises."""
    from runtime.developing import tryout
    from runtime.providers import ProviderError, backtest_events
    from runtime.tables import TableError

    found, subjects = settings_and_subjects()
    known = [[Path(one) for one in several] for several in (daily, reference, minutes)]
    try:
        events = backtest_events(list(trades), _progress(as_json), *known)
        told = tryout.tried(plan_of(found, subjects), subjects, name, events, checked)
    except (tryout.TryoutError, ProviderError, TableError, OSError) as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps({**vars(told), "events": told.events[:show]}, default=str))
    else:
        click.echo("\n".join(tryout.lines(told, show)))
    sys.exit(0 if told.is_good else EXIT_FAILED)


@main.command("replay")
@click.argument("name")
@click.option("--from", "from_", default="", help="First date, or event time.")
@click.option("--to", default="", help="Last date, or event time before which it ends.")
@click.option(
    "--sandbox", "is_kept", is_flag=True, help="Compare with the replay before, and keep this one."
)
@click.option("--show", default=10, show_default=True, type=click.IntRange(0, 1_000))
@json_option
def replay_command(name: str, from_: str, to: str, is_kept: bool, show: int, as_json: bool) -> None:
    """The recorded stream through function NAME as it is on disk: what it says otherwise; exit 1 if it does.

    It is compared with what was said live. With --sandbox it is compared with what the replay before said,
    which is kept in the data directory: change the code and replay again. Nothing is published.
    """
    from runtime.developing import replaying

    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)
    sandbox = Path(found.data_dir) / "sandbox" / name if is_kept else None
    asked = replaying.Asked(name, *_range_ns(from_, to), sandbox)

    async def work() -> Any:
        async with connected(found) as bus:
            progress = _progress(as_json, "messages")
            return await replaying.replay(bus, subjects, plan, asked, progress)

    try:
        told = run(work())
    except replaying.ReplayError as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps({**vars(told), "differences": told.differences[:show]}))
    else:
        click.echo("\n".join(replaying.lines(told, show)))
    sys.exit(0 if told.is_same else EXIT_FAILED)


@main.command("tail")
@click.argument("subject")
@click.option("--symbol", "symbols", multiple=True, help="Only this symbol; may be repeated.")
@click.option("--last", default=0, type=click.IntRange(0, 10_000), help="Begin with past messages.")
@click.option("--count", default=0, type=click.IntRange(0), help="End after so many events.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value a line.")
def tail_command(
    subject: str, symbols: tuple[str, ...], last: int, count: int, as_json: bool
) -> None:
    """Follow the events of SUBJECT: ticks.trades, alerts.3, bars.live, dead, dead.NAME ..."""
    from runtime.developing.tail import TailError, tail, wanted

    found, subjects = settings_and_subjects()
    try:
        asked = wanted(subjects, subject, symbols, last)
    except TailError as error:
        fail(str(error), EXIT_USAGE)

    async def work() -> None:
        async with connected(found) as bus:
            await tail(bus, subjects, asked, click.echo, as_json, count)

    run(work())


@main.command("logs")
@click.argument("names", nargs=-1)
@click.option("--last", default=50, show_default=True, type=click.IntRange(0, 100_000))
@click.option("--level", default="info", show_default=True, help="Least level that is shown.")
@click.option("--follow", "is_following", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value a line.")
def logs_command(
    names: tuple[str, ...], last: int, level: str, is_following: bool, as_json: bool
) -> None:
    """What the processes of this data directory logged, or those NAMES (processes or functions) alone."""
    from runtime.developing import logs

    found, subjects = settings_and_subjects()
    if level not in logs.LEVELS:
        fail(f"--level {level}: expected one of {', '.join(logs.LEVELS)}", EXIT_USAGE)

    def say(entry: dict[str, Any]) -> None:
        click.echo(json.dumps(entry, default=str) if as_json else logs.line(entry))

    folder = Path(found.data_dir) / "logs"
    try:
        asked = logs.wanted(folder, names, level, lambda name: _chain_name(found, subjects, name))
    except logs.LogsError as error:
        fail(str(error))
    read = logs.Logs(folder, asked)
    for entry in read.past(last):
        say(entry)
    if is_following:
        with contextlib.suppress(KeyboardInterrupt):
            logs.follow(read, say)


def _chain_name(settings: Settings, subjects: Subjects, name: str) -> str:
    """The chain of a function, of a sink its own name, of a stranger nothing."""
    plan = plan_of(settings, subjects)
    chain = plan.chain(name)
    return chain.name if chain else name if any(one.name == name for one in plan.sinks) else ""


@main.command("state")
@click.argument("name")
@click.argument("symbol")
@json_option
def state_command(name: str, symbol: str, as_json: bool) -> None:
    """What function NAME remembers of SYMBOL, as it was saved last."""
    from runtime.developing.state import StateError, remembered, rows
    from runtime.shapes import rfc3339

    found, subjects = settings_and_subjects()
    plan = plan_of(found, subjects)

    async def work() -> Any:
        async with connected(found) as bus:
            return await remembered(bus, subjects, plan, name, symbol)

    try:
        told = run(work())
    except StateError as error:
        fail(str(error))
    if as_json:
        click.echo(json.dumps(vars(told)))
        return
    show(rows(told), ["column", "value"], False)
    as_of = rfc3339(told.clock_ns) if told.clock_ns else "before the first clock event"
    click.echo(f"{told.unit} at input {told.cursor}, {as_of}, version {told.version}")


@main.command("top")
@click.option("--interval", default=2.0, show_default=True, type=click.FloatRange(0.2, 60))
@click.option("--count", default=0, type=click.IntRange(0), help="End after so many looks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value a line.")
def top_command(interval: float, count: int, as_json: bool) -> None:
    """Every function with what it does and costs: events, share of a core, lag, state; until Ctrl-C."""
    from runtime.developing import top

    found, _ = settings_and_subjects()

    async def work() -> None:
        async with connected(found) as bus:
            looked = 0
            while not count or looked < count:
                rows, look = await top.looks(bus, interval)
                looked += 1
                if as_json:
                    told = {"workers": look.workers, "functions": rows, "faults": look.faults}
                    click.echo(json.dumps(told))
                    continue
                if sys.stdout.isatty():
                    click.clear()
                show(rows, top.COLUMNS, False)
                click.echo(
                    f"{look.workers} workers; busy_pct is of one core, lag of the whole chain"
                )
                for fault in look.faults:
                    click.echo(f"refused: {fault}")

    run(work())


@main.command()
@click.argument("name", required=False)
@json_option
def bench(name: str | None, as_json: bool) -> None:
    """Measure: bars, scan, pipeline, latency, takeover, labels, backtest, charts. Without NAME, list them."""
    try:
        from bench import names, run_bench
    except ImportError:
        sys.path.insert(0, str(Path.cwd()))
        from bench import names, run_bench
    if name is None:
        for known, meaning in names().items():
            click.echo(f"{known:10} {meaning}")
        return
    if name not in names():
        fail(f"no bench {name}; there are {', '.join(names())}", EXIT_USAGE)
    found, subjects = settings_and_subjects()
    report = run_bench(name, found, subjects, quiet=as_json)
    if as_json:
        click.echo(json.dumps(report))
        return
    click.echo(
        f"{report['bench']} on {report['machine']['cpu']} ({report['machine']['cores']} cores)"
    )
    for key, value in {**report["sizes"], **report["results"]}.items():
        click.echo(f"  {key}: {value:,}" if isinstance(value, int | float) else f"  {key}: {value}")


__all__ = ["Closed", "main"]

if __name__ == "__main__":
    main()
