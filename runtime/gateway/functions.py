"""The functions and how far they are behind, for admins: who hosts what, pause and go on."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag

from runtime.gateway.access import need_admin
from runtime.gateway.engine import Engine, EngineView
from runtime.gateway.gateway import Gateway

BASE = "/api/v1/admin"
PAUSES = "functions"  # the bucket that workers follow


class Function(BaseModel):
    """One function."""

    name: str
    version: str = Field(description="of its code and settings; empty where nobody hosts it")
    chain: str = Field(description="functions of a chain are paused together; empty: a sink")
    state: str = Field(description="running, paused, or not hosted")
    partitions: int = Field(description="how many are hosted")
    lag: int = Field(description="messages that wait, of all partitions")
    behind_ms: float = Field(description="of the partition that is farthest behind, market time")
    workers: list[str]


class Functions(BaseModel):
    """All functions, by name."""

    functions: list[Function]
    count: int


class Unit(BaseModel):
    """A partition of a chain, as the worker that hosts it tells it."""

    unit: str
    chain: str
    partition: int | None
    worker: str
    epoch: int
    pending: int = Field(description="messages that wait")
    behind_ms: float
    snapshot_age_s: float
    paused: bool
    version: str


class Lag(BaseModel):
    """How far everything is behind."""

    lag: int = Field(description="messages that wait, of all units")
    behind_ms: float | None = Field(description="of the unit that is farthest behind")
    workers: int
    units: list[Unit]
    faults: list[str] = Field(description="functions that are not hosted, and why")


class Set(BaseModel):
    """That a function is paused or goes on, and which ones with it."""

    name: str
    state: str
    beside: list[str] = Field(description="hosted in the same chain: they do the same")


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    engine = gateway.engine
    _add_reading(app, engine)
    _add_pausing(app, gateway, engine)


def _add_reading(app: Quart, engine: Engine) -> None:
    @app.get(f"{BASE}/functions")
    @tag(["admin"])
    @document_response(Functions, 200)
    async def list_functions() -> Any:
        """Every function: its version, whether it runs, and how far it is behind (admins)."""
        need_admin()
        view = await engine.ask()
        found = [_function(view, name) for name in sorted(view.chains_of)]
        return {"functions": found, "count": len(found)}

    @app.get(f"{BASE}/lag")
    @tag(["admin"])
    @document_response(Lag, 200)
    async def get_lag() -> Any:
        """Every hosted partition and how far it is behind (admins)."""
        need_admin()
        view = await engine.ask()
        names = Unit.model_fields.keys()
        return {
            "lag": sum(unit["pending"] for unit in view.units),
            "behind_ms": view.behind_ms(),
            "workers": view.workers,
            "units": [{name: unit[name] for name in names} for unit in view.units],
            "faults": view.faults,
        }


def _add_pausing(app: Quart, gateway: Gateway, engine: Engine) -> None:
    @app.post(f"{BASE}/functions/<name>/pause")
    @tag(["admin"])
    @document_response(Set, 200)
    async def pause_function(name: str) -> Any:
        """Hold a function, and the chain it is in, where it stands; nothing is lost (admins)."""
        return await change(name, True)

    @app.post(f"{BASE}/functions/<name>/resume")
    @tag(["admin"])
    @document_response(Set, 200)
    async def resume_function(name: str) -> Any:
        """Let a paused function go on (admins)."""
        return await change(name, False)

    async def change(name: str, is_paused: bool) -> dict[str, Any]:
        need_admin()
        view = await engine.ask()
        if name not in view.chains_of and name not in view.paused:
            abort(404, f"no function {name!r:.80}; there are {', '.join(sorted(view.chains_of))}")
        kv, key = gateway.bus.kv(PAUSES), f"pause.{name}"
        await (kv.put(key, b"1") if is_paused else kv.delete(key))
        state = "paused" if is_paused else "running"
        await gateway.audit.note(g.user, f"function.{'pause' if is_paused else 'resume'}", name)
        return {"name": name, "state": state, "beside": view.beside(name)}


def _function(view: EngineView, name: str) -> dict[str, Any]:
    chain, units = view.chains_of[name], view.units_of(name)
    is_paused = bool({name, chain} & view.paused)
    hosted = "running" if units or name in view.sinks else "not hosted"
    return {
        "name": name,
        "version": view.version_of(name),
        "chain": chain,
        "state": "paused" if is_paused else hosted,
        "partitions": len(units),
        "lag": sum(unit["pending"] for unit in units),
        "behind_ms": max((unit["behind_ms"] for unit in units), default=0.0),
        "workers": sorted({unit["worker"] for unit in units} | view.sinks.get(name, set())),
    }
