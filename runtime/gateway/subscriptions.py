"""What a user wants to be told, over REST."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from quart import Quart, abort, g
from quart_schema import document_request, document_response, tag

from runtime.gateway import asked
from runtime.gateway.gateway import Gateway
from runtime.gateway.profiles import BadProfile

PATH = "/api/v1/user/subscriptions"
EMPTY: dict[str, Any] = {"subscriptions": [], "quiet": [], "mutes": [], "channels": []}


class Subscriptions(BaseModel):
    """Which alerts, when not, how often, and by which channels; what is left out has its default."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "subscriptions": [{"rules": ["new-low"], "symbols": ["AAPL"]}],
                "cooldown_s": 300,
                "quiet": [{"from": "22:00", "to": "07:00", "zone": "America/New_York"}],
                "mutes": [{"symbol": "MSFT", "until": "2026-01-05T20:00:00Z"}],
                "budget": {"alerts": 60, "window_s": 10},
                "channels": [],
            }
        },
    )

    subscriptions: list[dict[str, Any]] = Field(
        default_factory=list,
        description="any of them may want an alert: its `rules` on its `symbols` and those of its "
        "`watchlists`; what it does not name it does not restrict, so [{}] is every alert",
    )
    cooldown_s: int | None = Field(None, description="not again of a rule on a symbol; 300")
    quiet: list[dict[str, Any]] = Field(default_factory=list, description="hours without alerts")
    mutes: list[dict[str, Any]] = Field(default_factory=list)
    budget: dict[str, Any] | None = Field(None, description="alerts of a window told one by one")
    channels: list[str] = Field(default_factory=list, description="names of your channels")


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    profiles = gateway.profiles

    @app.get(PATH)
    @tag(["user"])
    @document_response(Subscriptions, 200)
    async def get_subscriptions() -> Any:
        """What you want to be told; watchlists are named, their symbols stand in the watchlists."""
        return _shown(await profiles.get(g.user))

    @app.put(PATH)
    @tag(["user"])
    @document_request(Subscriptions)
    @document_response(Subscriptions, 200)
    async def put_subscriptions() -> Any:
        """Say what you want to be told, all of it; it holds from the next alert on."""
        told = await asked.body()
        if not isinstance(told, dict):
            abort(400, f"expected an object, found {type(told).__name__}")
        profile = {name: value for name, value in told.items() if name != "watchlists"}
        profile = {name: value for name, value in profile.items() if value is not None}
        try:
            await profiles.put(g.user, profile)
        except BadProfile as error:
            abort(400, str(error))
        await gateway.audit.note(g.user, "subscriptions.update", g.user)
        return _shown(profile)


def _shown(profile: dict[str, Any]) -> dict[str, Any]:
    return {**EMPTY, **{name: value for name, value in profile.items() if name != "watchlists"}}
