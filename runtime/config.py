"""Settings: read once from JETSCAN_* environment variables, frozen, strict."""

from __future__ import annotations

import difflib
import ipaddress
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

PREFIX = "JETSCAN_"
SECRETS = frozenset(  # never shown
    {"jwt_secret", "nats_password", "oidc_client_secret", "redis_url", "smtp_url"}
)
FILES = SECRETS | {"database_url"}  # JETSCAN_X_FILE names a file that has the value


class ConfigError(ValueError):
    """The environment cannot be used; one line per mistake."""


class Settings(BaseSettings):
    """Everything an operator may set, unit last in the name."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    nats_url: str = Field(
        "", description="nats://host:port; empty: the embedded server of `jetscan dev`"
    )
    nats_user: str = Field("", description="who this process is to NATS; empty: nobody")
    nats_password: str = Field("", description="what it proves that with")
    database_url: str = Field(
        "", description="postgresql://user:password@host/name; empty: the one of `jetscan dev`"
    )
    redis_url: str = Field(
        "",
        description="redis://HOST:PORT or unix:///SOCKET for limits and answers that gateways share, and mirrored toplists; empty: none",
    )
    migrations_dir: str = Field("migrations", description="the folder of numbered SQL files")
    data_dir: str = Field(
        ".jetscan", description="where the embedded server and logs keep their files"
    )
    functions_dir: str = Field("functions", description="the folder whose modules are hosted")
    subjects_file: str = Field(
        "subjects.yaml", description="the wire: subjects, records, streams, buckets"
    )
    host: str = Field("127.0.0.1", description="address the gateway listens on")
    port: int = Field(
        8090, ge=0, le=65535, description="port of REST, WebSocket and page; 0: a free one"
    )
    mode: Literal["local", "production"] = Field(
        "local", description="local: no token is user `default`; production: tokens are required"
    )
    jwt_secret: str = Field(
        "", description="HMAC key of bearer tokens, 32 bytes or more; required outside local"
    )
    origins: str = Field(
        "", description="other origins, comma-separated, that browsers may call from"
    )
    public_url: str = Field(
        "", description="https://HOST as browsers see it, where a proxy ends TLS; empty: as asked"
    )
    proxies: str = Field(
        "",
        description="addresses or networks, comma-separated, whose X-Forwarded-For is believed",
    )
    token_s: int = Field(
        86_400, ge=60, le=604_800, description="an access token is valid this long"
    )
    refresh_s: int = Field(
        2_592_000, ge=600, description="a sign-in that is not used ends after this long"
    )
    api_rate_limit_rps: float = Field(
        100.0, ge=0, description="REST requests a second of one user or address; 0: no limit"
    )
    oidc_issuer: str = Field("", description="OpenID provider: https://HOST/PATH; empty: none")
    oidc_client_id: str = Field("", description="what the provider calls this installation")
    oidc_client_secret: str = Field("", description="what this installation proves itself with")
    oidc_name: str = Field("OpenID", description="what the sign-in page calls the provider")
    oidc_allowed: str = Field(
        "", description="mail domains or addresses, comma-separated, that may sign in; *: everybody"
    )
    oidc_roles_claim: str = Field(
        "", description="claim with the roles trader and admin; empty: roles are given here"
    )
    websocket_connections_max: int = Field(1000, ge=1, description="one more is answered 503")
    websocket_connections_of_user_max: int = Field(
        50, ge=1, description="one more of a user is closed; the user of local mode has no limit"
    )
    token_in_url: bool = Field(
        False, description="true: /ws takes ?token= as well, which logs of proxies keep"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least level logged"
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="json for machines, console for people"
    )
    linger_ms: float = Field(
        3.0,
        ge=0,
        le=1000,
        description="what a feed sent waits this long for more before it is published",
    )
    reference_at: str = Field(
        "03:45",
        pattern=r"([01]\d|2[0-3]):[0-5]\d",
        description="New York time at which reference data is brought up to date, before the day starts",
    )
    snapshot_interval_s: float = Field(
        2.0,
        gt=0,
        le=60,
        description="state is saved this often: the most that a take-over runs again",
    )
    handler_timeout_s: float = Field(
        10.0, gt=0, description="a function that takes longer ends its process, which starts again"
    )
    tries_max: int = Field(
        3, ge=1, le=20, description="times a frame is tried before it is a dead letter"
    )
    workers_min: int = Field(1, ge=1, le=64, description="worker processes that always run")
    workers_max: int = Field(2, ge=1, le=64, description="most worker processes, added on lag")
    delivery_private: bool = Field(
        False,
        description="true: webhooks may go to private addresses and over plain HTTP",
    )
    smtp_url: str = Field(
        "",
        description="mail server: smtp://USER:PASSWORD@HOST:587, smtps:// for TLS from the start",
    )
    smtp_from: str = Field("jetscan@localhost", description="who mail of alerts comes from")
    functions: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description='settings of functions as JSON: {"bars": {"grace_ms": 500}}',
    )

    @model_validator(mode="after")
    def _secret_outside_local(self) -> Settings:
        if self.mode != "local" and len(self.jwt_secret) < 32:
            raise ValueError("jwt_secret: expected 32 bytes or more outside local mode")
        if bool(self.nats_user) != bool(self.nats_password):
            raise ValueError("nats_user: expected together with nats_password")
        if self.workers_max < self.workers_min:
            raise ValueError("workers_max: expected at least workers_min")
        if self.smtp_url and not self.smtp_url.startswith(("smtp://", "smtps://")):
            raise ValueError("smtp_url: expected smtp://HOST:PORT or smtps://HOST:PORT")
        if self.database_url and not self.database_url.startswith(("postgresql://", "postgres://")):
            raise ValueError("database_url: expected postgresql://USER:PASSWORD@HOST/NAME")
        if self.redis_url and not self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("redis_url: expected redis://HOST:PORT, rediss:// or unix:///SOCKET")
        if self.public_url and not self.public_url.startswith(("https://", "http://")):
            raise ValueError("public_url: expected https://HOST or http://HOST:PORT")
        self._check_access()
        return self

    def _check_access(self) -> None:
        for one in listed(self.proxies):
            try:
                ipaddress.ip_network(one)
            except ValueError as error:
                raise ValueError(f"proxies: {error}") from error
        if not self.oidc_issuer:
            return
        is_near = urlsplit(self.oidc_issuer).hostname in ("localhost", "127.0.0.1", "::1")
        if not self.oidc_issuer.startswith("https://") and not is_near:
            raise ValueError("oidc_issuer: expected https://HOST/PATH")
        if not self.oidc_client_id:
            raise ValueError("oidc_client_id: expected one with oidc_issuer")
        if not listed(self.oidc_allowed):
            raise ValueError(
                "oidc_allowed: expected mail domains or addresses that may sign in, or *"
            )

    def described(self) -> list[tuple[str, Any, str]]:
        """Name, value and meaning of every setting."""
        return [
            (name, getattr(self, name), field.description or "")
            for name, field in type(self).model_fields.items()
        ]


def load_settings() -> Settings:
    """The settings of this process; raises ConfigError naming what is wrong and what may be written."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in FILES}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ConfigError("\n".join(_unknown(name, known) for name in unknown))
    try:
        return Settings(**_from_files())
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(fault) for fault in error.errors())) from error
    except SettingsError as error:  # the one value that is JSON cannot be read
        example = '{"bars": {"grace_ms": 500}}'
        raise ConfigError(f"{PREFIX}FUNCTIONS: expected JSON such as {example}") from error


def listed(text: str) -> list[str]:
    """The values of a setting that has several, comma-separated."""
    return [one.strip() for one in text.split(",") if one.strip()]


def _from_files() -> dict[str, Any]:
    """Settings that stand in files; raises ConfigError."""
    found = {}
    for name in sorted(FILES):
        variable = f"{PREFIX}{name.upper()}"
        path = os.environ.get(f"{variable}_FILE")
        if not path:
            continue
        if os.environ.get(variable):
            raise ConfigError(f"expected either {variable} or {variable}_FILE, found both")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{variable}_FILE: expected a file of text: {error}") from error
    return found


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {near[0]}?" if near else "; `jetscan settings` lists them"
    return f"{name}: no such setting{hint}"


def _explained(fault: Any) -> str:
    name = PREFIX + str(fault["loc"][0]).upper() if fault["loc"] else ""
    message: str = fault["msg"].removeprefix("Value error, ")
    if not name:
        return (
            PREFIX
            + message.replace(":", "", 1).partition(" ")[0].upper()
            + ": "
            + message.partition(": ")[2]
        )
    found = "" if fault["loc"][0] in SECRETS else f", found {fault['input']!r}"
    return f"{name}: {message}{found}"
