"""Where users are told of alerts, over REST: secrets go in and never come out."""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from quart import Quart, abort, g
from quart_schema import document_response, tag, validate_querystring, validate_request

from runtime.gateway.answers import problem
from runtime.gateway.gateway import Gateway
from runtime.gateway.queries import Page
from runtime.gateway.rules import Said
from runtime.outbound import Outbound
from runtime.users import BUCKET, CHANNEL_BYTES_MAX, NAME, keep_channel

BASE = "/api/v1/channels"
SUBJECT = "ask.channel"  # the function that accepts it tells what a delivery sends
CHANNELS_MAX = 20  # of a user
TESTS_MAX, TESTS_S = 10, 600.0  # of a user: each is a request to an address of the user's choice
FIELDS = {
    "webhook": ("url", "secret"),
    "email": ("to",),
    "discord": ("url",),
    "telegram": ("token", "chat_id"),
}
SECRETS = ("secret", "token", "url")  # the address of a webhook often is its password
HIDDEN = "••••"
Text = Annotated[str, Field(max_length=2_000, pattern=r"^[^\x00-\x1f]*$")]
Channel = dict[str, str]


class ChannelChange(BaseModel):
    """Where a channel leads; a secret that is left out, or sent as it was shown, stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"kind": "webhook", "url": "https://example.com/alerts", "secret": "s3cret"}
        }
    )

    kind: Annotated[str, Field(pattern="^(webhook|email|discord|telegram)$")]
    url: Text | None = Field(None, description="of a webhook, or of Discord: https")
    secret: Text | None = Field(None, description="signs a webhook; empty: it is not signed")
    to: Text | None = Field(None, description="a mail address")
    token: Text | None = Field(None, description="of a Telegram bot")
    chat_id: Text | None = Field(None, description="of Telegram")


class ChannelBody(ChannelChange):
    """A new channel."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "phone", "kind": "telegram", "token": "1:a", "chat_id": "42"}
        }
    )

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class ShownChannel(BaseModel):
    """A channel without its secrets: of addresses the host is shown."""

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: str
    url: str | None = None
    secret: str | None = Field(None, description="dots where there is one")
    to: str | None = None
    token: str | None = Field(None, description="dots where there is one")
    chat_id: str | None = None
    fault: str | None = Field(None, description="why nothing can be sent")


class Channels(BaseModel):
    """Your channels, by name."""

    channels: list[ShownChannel]
    count: int
    total: int


class Tested(BaseModel):
    """What became of a test."""

    ok: bool
    detail: str


class Tests:
    """How many tests a user made of late."""

    def __init__(self) -> None:
        self._made: dict[str, deque[float]] = {}

    def wait_s(self, user: str) -> float:
        """Note a test; how long to wait before it may be made, 0 = not at all."""
        now = time.monotonic()
        self._made = {one: made for one, made in self._made.items() if now - made[-1] < TESTS_S}
        made = self._made.setdefault(user, deque(maxlen=TESTS_MAX))
        if len(made) == TESTS_MAX and now - made[0] < TESTS_S:
            return TESTS_S - (now - made[0])
        made.append(now)
        return 0.0


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    _add_reading(app, gateway)
    _add_changing(app, gateway)
    _add_test(app, gateway)


def _add_reading(app: Quart, gateway: Gateway) -> None:
    @app.get(BASE)
    @tag(["user"])
    @validate_querystring(Page)
    @document_response(Channels, 200)
    async def list_channels(query_args: Page) -> Any:
        """Your channels, by name, without their secrets."""
        found = await _all(gateway, g.user)
        shown = [_shown(name, found[name]) for name in sorted(found)]
        page = shown[query_args.offset :][: query_args.limit]
        return {"channels": page, "count": len(page), "total": len(shown)}

    @app.get(f"{BASE}/<name>")
    @tag(["user"])
    @document_response(ShownChannel, 200)
    async def get_channel(name: str) -> Any:
        """One channel without its secrets."""
        return _shown(name, await _kept(gateway, g.user, name))


def _add_changing(app: Quart, gateway: Gateway) -> None:
    audit = gateway.audit

    @app.post(BASE)
    @tag(["user"])
    @validate_request(ChannelBody)
    @document_response(ShownChannel, 201)
    async def add_channel(data: ChannelBody) -> Any:
        """Make a channel; subscriptions name it."""
        found = await _all(gateway, g.user)
        if data.name in found:
            abort(409, f"channel {data.name} exists; PUT changes it")
        if len(found) >= CHANNELS_MAX:
            abort(413, f"at most {CHANNELS_MAX} channels of a user")
        channel = await _keep(gateway, data.name, data, {})
        await audit.note(g.user, "channel.create", data.name, {"kind": channel["kind"]})
        return _shown(data.name, channel), 201

    @app.put(f"{BASE}/<name>")
    @tag(["user"])
    @validate_request(ChannelChange)
    @document_response(ShownChannel, 200)
    async def put_channel(name: str, data: ChannelChange) -> Any:
        """Change where a channel leads."""
        channel = await _keep(gateway, name, data, await _kept(gateway, g.user, name))
        await audit.note(g.user, "channel.update", name, {"kind": channel["kind"]})
        return _shown(name, channel)

    @app.delete(f"{BASE}/<name>")
    @tag(["user"])
    @document_response(Said, 200)
    async def delete_channel(name: str) -> Any:
        """Remove a channel, secrets and all."""
        await _kept(gateway, g.user, name)
        await gateway.bus.kv(BUCKET).purge(f"{g.user}.{name}")
        await audit.note(g.user, "channel.delete", name)
        return {"message": "Channel deleted"}


def _add_test(app: Quart, gateway: Gateway) -> None:
    tests = Tests()

    @app.post(f"{BASE}/<name>/test")
    @tag(["user"])
    @document_response(Tested, 200)
    async def test_channel(name: str) -> Any:
        """Send a test by a channel, as an alert would be sent, and say what came back."""
        channel = await _kept(gateway, g.user, name)
        wait_s = tests.wait_s(g.user)
        if wait_s:
            text = f"at most {TESTS_MAX} tests in {TESTS_S / 60:g} minutes"
            return problem(429, text, {"Retry-After": str(int(wait_s) + 1)})
        identity = str(uuid.uuid4())
        try:
            request = _request(gateway, channel, name, identity)
        except ValueError as error:
            return {"ok": False, "detail": str(error)}
        # A way out of its own: what waits for its turn among alerts says nothing about the channel.
        outbound = Outbound(gateway.settings)
        try:
            answer = await outbound.send(f"test/{g.user}.{name}", request, identity)
        finally:
            await outbound.close()
        is_ok = answer.outcome == "ok"
        await gateway.audit.note(g.user, "channel.test", name, {"ok": is_ok})
        return {"ok": is_ok, "detail": answer.reason or "it was taken"}


def _request(gateway: Gateway, channel: Channel, name: str, identity: str) -> dict[str, Any]:
    """What a test sends; raises ValueError where the channel cannot be used."""
    accept = gateway.accepts.get(SUBJECT)
    if accept is None:
        abort(503, f"no hosted function answers {SUBJECT}")
    message = f"Jetscan: a test of the channel {name}"
    body = json.dumps({"kind": "test", "id": identity, "message": message})
    told = {"channel": channel, "id": identity, "kind": "test", "body": body}
    request: dict[str, Any] = json.loads(accept(json.dumps(told)))
    return request


# -- what is kept


async def _all(gateway: Gateway, user: str) -> dict[str, Channel]:
    if not NAME.fullmatch(user):
        return {}
    entries = await gateway.bus.kv(BUCKET).all(user)
    return {key.partition(".")[2]: _read(entry.value) for key, entry in entries.items()}


async def _kept(gateway: Gateway, user: str, name: str) -> Channel:
    """A channel with its secrets; 404."""
    entry = None
    if NAME.fullmatch(user) and NAME.fullmatch(name):
        entry = await gateway.bus.kv(BUCKET).get(f"{user}.{name}")
    if entry is None:
        abort(404, "Channel not found")
    return _read(entry.value)


async def _keep(gateway: Gateway, name: str, told: ChannelChange, before: Channel) -> Channel:
    """Keep what was sent, with the secrets of before where none were; 400."""
    if not NAME.fullmatch(g.user):
        abort(400, "your user id cannot have channels: expected letters, digits, - and _")
    channel = _merged(told, before)
    try:
        _request(gateway, channel, name, "")
    except ValueError as error:
        abort(400, str(error))
    value = json.dumps(channel).encode()
    if len(value) > CHANNEL_BYTES_MAX:
        abort(413, f"at most {CHANNEL_BYTES_MAX} bytes of JSON")
    await keep_channel(gateway.bus, g.user, name, value)
    return channel


def _merged(told: ChannelChange, before: Channel) -> Channel:
    """The fields of its kind. What was hidden when it was read may come back hidden."""
    known = before if before.get("kind") == told.kind else {}
    channel = {name: text for name, text in known.items() if name not in FIELDS[told.kind]}
    channel["kind"] = told.kind
    for name in FIELDS[told.kind]:
        text = getattr(told, name)
        if text is None or (name in known and text == _hidden(name, known[name])):
            text = known.get(name, "") if text is not None or name in SECRETS else ""
        if text:
            channel[name] = text
    if "url" in channel and not _is_address(channel["url"]):
        abort(400, "url: expected an address such as https://example.com/alerts")
    return channel


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        return False


def _shown(name: str, channel: Channel) -> dict[str, Any]:
    kind = channel.get("kind", "")
    fields = {one: channel.get(one) for one in FIELDS.get(kind, ())}
    shown = {one: _hidden(one, text) for one, text in fields.items() if text}
    whole: dict[str, Any] = {"name": name, "kind": kind, **shown}
    return whole if kind in FIELDS else {**whole, "fault": "it is no channel; set it again"}


def _hidden(name: str, text: str) -> str:
    """A field as it is shown."""
    if name not in SECRETS:
        return text
    if name != "url":
        return HIDDEN
    try:
        parts = urlsplit(text)
        return f"{parts.scheme}://{parts.hostname}/{HIDDEN}"
    except ValueError:
        return HIDDEN


def _read(value: bytes) -> Channel:
    try:
        told = json.loads(value)
    except ValueError:
        return {}
    if not isinstance(told, dict):
        return {}
    return {str(name): text for name, text in told.items() if isinstance(text, str)}
