"""The Quart application and the process that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config
from quart import Quart, Response, abort, g, jsonify, request, send_from_directory, websocket
from werkzeug.exceptions import HTTPException

from runtime import telemetry
from runtime.bus import Bus, BusError, Message
from runtime.config import Settings
from runtime.frames import BadFrame, decode
from runtime.gateway import asked, fanout
from runtime.gateway import toplists as toplist_routes
from runtime.gateway.auth import Unauthorized, origin_allowed, user_of
from runtime.gateway.book import Book, RuleError
from runtime.gateway.hub import RING_MAX, Client, Hub
from runtime.gateway.socket import Conversation, TooFast, write_waiting
from runtime.redis_mirror import ConfigMirror
from runtime.shapes import alert_shapes, latency_ms, list_shapes, rfc3339
from runtime.subjects import Subjects

log = telemetry.get_logger(__name__)

BODY_BYTES_MAX = 256 << 10
MESSAGE_BYTES_MAX = 64 << 10
SEND_BUFFER_BYTES = (
    64 << 10
)  # a client that stops reading is noticed after 13 updates, not after 600
UNANSWERED_MS = 20_000  # TCP_USER_TIMEOUT: a vanished client frees its socket
GOODBYE_S = 3.0
EXIT_S = 8.0
ALERT_LIMIT, ALERT_LIMIT_MAX = 100, 1_000
TRACEPARENT = "traceparent"
INPUT_TIME = "Jetscan-Input-Time"
HISTORY_READ = 20_000  # alerts messages read back at start
POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


class Gateway:
    """What the routes share."""

    def __init__(
        self,
        settings: Settings,
        subjects: Subjects,
        bus: Bus,
        accepts: Mapping[str, Callable[[str], str]],
    ) -> None:
        self.settings = settings
        self.subjects = subjects
        self.bus = bus
        self.hub = Hub()
        self.book = Book(bus, subjects, accepts)
        self.rules, self.lists = self.book.rules, self.book.lists
        self.mirror = ConfigMirror(settings.redis_url)
        self.book.on_change = self._lists_changed
        self.is_loaded = False
        self.is_draining = False

    async def run(self, seed_rules: str | None) -> None:
        """Read what there is, then follow what comes; ends only with an error or by cancellation."""
        await self.book.open(seed_rules)
        await self._load_toplists()
        listeners = [
            await self.bus.listen("toplists.updated", self._heard_toplists),
            await self.bus.listen("bars.live.*", self._heard_bars),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.hub.pump())
                group.create_task(self._follow_alerts())
                group.create_task(self._end_with_bus())
                group.create_task(self.mirror.keep())
        finally:
            await self.mirror.close()
            for listener in listeners:
                await listener.stop()
            await self.book.close()

    async def _end_with_bus(self) -> None:
        await self.bus.closed.wait()
        raise BusError("the connection to NATS is closed for good")

    async def _follow_alerts(self) -> None:
        stream, subject = "ALERTS", "alerts.filtered"
        newest = await self.bus.last(stream, subject)
        past = await self.bus.history(stream, subject, HISTORY_READ) if newest else []
        for message in past:
            self._heard_alerts(message, 0)
        self.is_loaded = True
        start = newest.sequence + 1 if newest else "first"
        async for message in self.bus.read(stream, [subject], start):
            self._heard_alerts(message, time.time_ns())

    def _heard_alerts(self, message: Message, heard_ns: int) -> None:
        """Hold alerts and tell clients; `heard_ns` is 0 for those of before the gateway began."""
        record = self.subjects.record_of("alerts.filtered")
        try:
            alerts = alert_shapes(
                decode(message.data, record), message.headers.get(TRACEPARENT, "")
            )
        except (BadFrame, ValueError, KeyError) as error:
            log.error("alerts refused", sequence=message.sequence, reason=str(error))
            return
        with telemetry.span("deliver", message.headers, alerts=len(alerts)):
            told = message.headers.get(INPUT_TIME, "")
            input_ns = int(told) if told.isdigit() else 0
            for alert in alerts:
                alert["latency_ms"] = latency_ms(alert["ts_ns"], input_ns, message.ts_ns, heard_ns)
                self.hub.add_alert(alert)

    def _heard_toplists(self, message: Message) -> None:
        self._take_toplists(message.data)

    def _take_toplists(self, data: bytes) -> None:
        try:
            frame = decode(data, self.subjects.record_of("toplists.updated"))
        except BadFrame as error:
            log.error("toplists refused", reason=str(error))
            return
        for name, listed in list_shapes(frame, self._columns).items():
            if name not in self.lists.things or self._is_of_kept(name, listed.key):
                self.hub.set_toplist(name, listed)

    def _is_of_kept(self, name: str, key: str) -> bool:
        """Whether a ranking is of the list that is kept, not of another user's that had its id before."""
        user = self.lists.things.get(name, {}).get("user_id", "")
        return name in self.lists.things and key == f"toplist:user:{user}:{name}"

    def _columns(self, name: str, key: str) -> list[str]:
        """The own columns of a list."""
        return (self._is_of_kept(name, key) and self.lists.things[name].get("columns")) or []

    def _lists_changed(self) -> None:
        users = {name: one.get("user_id", "") for name, one in self.lists.things.items()}
        self.hub.forget_lists(users.get)
        self.mirror.note({**self.book.system, **self.lists.things})

    def may_follow(self, user: str, name: str) -> bool:
        """Whether a user may follow a list: a system list, or an own one."""
        known = self.lists.things.get(name)
        if known is not None:
            return bool(known.get("user_id") == user)
        return not self.book.system or name in self.book.system

    async def _load_toplists(self) -> None:
        for entry in (await self.bus.kv("toplists").all()).values():
            self._take_toplists(entry.value)

    def _heard_bars(self, message: Message) -> None:
        try:
            frame = decode(message.data, self.subjects.record_of("bars.live"))
        except BadFrame as error:
            log.error("bars refused", reason=str(error))
            return
        self.hub.set_bars(frame)


def create_app(gateway: Gateway) -> Quart:
    """The routes; `gateway.run` must be running beside them."""
    app = Quart(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES_MAX
    _answer_errors(app)
    _guard(app, gateway)
    _probes(app, gateway)
    _rules(app, gateway)
    _reading(app, gateway)
    toplist_routes.add(app, gateway.book, gateway.hub)
    _page(app)
    _websocket(app, gateway)
    return app


# -- what every request goes through


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An RFC 9457 answer, with `error` and `code` for older clients."""
    title = {
        400: "Bad Request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        409: "Conflict",
    }.get(status, "Error")
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "error": detail,
        "code": status,
    }
    response = jsonify(body)
    response.status_code = status
    response.headers["Content-Type"] = "application/problem+json"
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


def _answer_errors(app: Quart) -> None:
    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        kept = {k: v for k, v in error.get_headers() if k not in ("Content-Type", "Content-Length")}
        return problem(error.code or 500, error.description or error.name, kept)

    @app.errorhandler(RuleError)
    async def rule_error(error: RuleError) -> Response:
        return problem(error.status, str(error))

    @app.errorhandler(Unauthorized)
    async def unauthorized(error: Unauthorized) -> Response:
        return problem(401, str(error), {"WWW-Authenticate": "Bearer"})

    @app.errorhandler(BusError)
    async def bus_error(error: BusError) -> Response:
        return problem(503, str(error), {"Retry-After": "2"})

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        log.error("request failed", path=request.path, exc_info=error)
        return problem(500, "an error on our side; it is in the log")


def _guard(app: Quart, gateway: Gateway) -> None:
    settings = gateway.settings

    @app.before_request
    async def check() -> Response | None:
        g.started_at = time.monotonic()
        origin = request.headers.get("Origin", "")
        if not origin_allowed(settings, origin, request.host):
            return problem(403, f"origin {origin} may not call; list it in JETSCAN_ORIGINS")
        if request.method == "OPTIONS":
            return Response("", 200)
        if request.path.startswith("/api/"):
            g.user = user_of(settings, request.headers.get("Authorization", ""))
        return None

    @app.after_request
    async def finish(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        origin = request.headers.get("Origin", "")
        if origin and origin_allowed(settings, origin, request.host):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Vary"] = "Origin"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, DELETE, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, Authorization"
            response.headers["Access-Control-Max-Age"] = "3600"
        endpoint = request.endpoint or "unknown"
        telemetry.REQUESTS.labels(request.method, endpoint, str(response.status_code)).inc()
        telemetry.REQUEST_S.labels(endpoint).observe(
            time.monotonic() - g.get("started_at", time.monotonic())
        )
        return response


# -- routes


def _probes(app: Quart, gateway: Gateway) -> None:
    @app.get("/health")
    async def health() -> Any:
        return {"status": "healthy"}

    @app.get("/live")
    async def live() -> Any:
        return {"status": "alive"}

    @app.get("/ready")
    async def ready() -> Any:
        if not gateway.bus.connected:
            return {"status": "not ready", "reason": "NATS cannot be reached"}, 503
        if not gateway.is_loaded or gateway.is_draining:
            return {"status": "not ready", "reason": "starting or stopping"}, 503
        return {"status": "ready"}

    @app.get("/metrics")
    async def metrics() -> Response:
        body, kind = telemetry.rendered()
        return Response(body, content_type=kind)

    @app.get("/stats")
    async def stats() -> Any:
        hub = gateway.hub
        return {
            "ConnectionsTotal": hub.connections,
            "ConnectionsActive": len(hub.clients),
            "AlertsReceived": hub.newest,
            "AlertsBroadcast": hub.delivered,
            "ToplistsConflated": hub.conflated,
            "NewestEvent": rfc3339(hub.newest_ns) if hub.newest_ns else None,
        }


def _rules(app: Quart, gateway: Gateway) -> None:
    book = gateway.rules
    verdict = gateway.book.verdict

    @app.get("/api/v1/rules")
    async def list_rules() -> Any:
        rules = book.all()
        return {"rules": rules, "count": len(rules)}

    @app.post("/api/v1/rules")
    async def add_rule() -> Any:
        return await book.add(await asked.body()), 201

    @app.get("/api/v1/rules/<rule_id>")
    async def get_rule(rule_id: str) -> Any:
        return book.get(rule_id)

    @app.put("/api/v1/rules/<rule_id>")
    async def put_rule(rule_id: str) -> Any:
        return await book.replace(rule_id, await asked.body())

    @app.delete("/api/v1/rules/<rule_id>")
    async def delete_rule(rule_id: str) -> Any:
        await book.remove(rule_id)
        return {"message": "Rule deleted"}

    @app.post("/api/v1/rules/<rule_id>/validate")
    async def validate_rule(rule_id: str) -> Any:
        return verdict(rule_id)


def _reading(app: Quart, gateway: Gateway) -> None:
    hub = gateway.hub

    @app.get("/api/v1/alerts")
    async def list_alerts() -> Any:
        limit = asked.whole("limit", ALERT_LIMIT, 1, ALERT_LIMIT_MAX)
        offset = asked.whole("offset", 0, 0, RING_MAX)
        symbol, rule_id = request.args.get("symbol"), request.args.get("rule_id")
        start, end = asked.time_ns("start_time"), asked.time_ns("end_time")
        found = [
            alert
            for alert in hub.alerts()
            if (symbol is None or alert["symbol"] == symbol)
            and (rule_id is None or alert["rule_id"] == rule_id)
            and (start is None or alert["ts_ns"] >= start)
            and (end is None or alert["ts_ns"] <= end)
        ]
        page = found[offset : offset + limit]
        return {"alerts": page, "count": len(page), "limit": limit, "offset": offset}

    @app.get("/api/v1/alerts/<alert_id>")
    async def get_alert(alert_id: str) -> Any:
        for alert in hub.alerts():
            if alert["id"] == alert_id:
                return alert
        return abort(404, "Alert not found")

    @app.get("/api/v1/symbols")
    async def list_symbols() -> Any:
        search = request.args.get("search", "").upper()
        symbols = sorted(symbol for symbol in hub.symbols if search in symbol.upper())
        return {"symbols": symbols, "count": len(symbols)}

    @app.get("/api/v1/symbols/<symbol>")
    async def get_symbol(symbol: str) -> Any:
        bar = hub.bar(symbol)
        if bar is None:
            abort(404, "Symbol not found")
        return {"symbol": symbol, "bar": bar}


def _page(app: Quart) -> None:
    files = {"app.js", "style.css", "icon.svg"}

    @app.get("/")
    async def page() -> Any:
        return await send_from_directory(_page_folder(), "index.html")

    @app.get("/page/<name>")
    async def asset(name: str) -> Any:
        if name not in files:
            abort(404, "Not found")
        return await send_from_directory(_page_folder(), name)


def _page_folder() -> str:
    return os.path.join(os.path.dirname(__file__), "page")  # noqa: PTH118, PTH120 -- Quart wants text


def _websocket(app: Quart, gateway: Gateway) -> None:
    hub, settings = gateway.hub, gateway.settings

    @app.websocket("/ws")
    async def follow() -> Any:
        origin = websocket.headers.get("Origin", "")
        if not origin_allowed(settings, origin, websocket.host):
            return problem(403, f"origin {origin} may not connect")
        # A browser cannot send the header with a WebSocket: the token may stand in the address.
        token = websocket.headers.get("Authorization") or websocket.args.get("token", "")
        user = user_of(settings, token)
        if len(hub.clients) >= settings.websocket_connections_max or gateway.is_draining:
            return problem(503, "Max connections reached", {"Retry-After": "5"})
        await websocket.accept()
        transport = fanout.transport_of(websocket.scope)
        client = Client(user, transport, websocket.send, cursor=hub.newest)
        hub.join(client)
        writing = asyncio.create_task(write_waiting(client, lambda: client in hub.clients))
        try:
            await _converse(Conversation(hub, client, gateway.may_follow))
        except TooFast:
            client.write(fanout.close_frame(1008, "too many messages"), b"")
            if transport is None:
                await websocket.close(1008, "too many messages")
            else:
                transport.close()
        finally:
            hub.leave(client)
            writing.cancel()
        return None


async def _converse(conversation: Conversation) -> None:
    while True:
        text = await websocket.receive()
        conversation.hear(text)


# -- the process


async def serve(
    settings: Settings,
    subjects: Subjects,
    url: str,
    accepts: Mapping[str, Callable[[str], str]],
    seed_rules: str | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; then tell every client and end within EXIT_S."""
    listening = bound_socket(settings.host, settings.port)
    bus = await Bus.connect(url, "gateway")
    gateway = Gateway(settings, subjects, bus, accepts)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(gateway.run(seed_rules))
        group.create_task(_serve_until(stopping, gateway, listening, following))
    await bus.close()


async def _serve_until(
    stopping: asyncio.Event,
    gateway: Gateway,
    listening: socket.socket,
    following: asyncio.Task[None],
) -> None:
    async def shutdown() -> None:
        await stopping.wait()
        gateway.is_draining = True
        # An open connection must not keep the process: Python 3.12 waits for it for ever.
        asyncio.get_running_loop().call_later(EXIT_S, os._exit, 0)
        gateway.hub.say_goodbye()
        await asyncio.sleep(0.05)

    await run_server(create_app(gateway), listening, shutdown)
    following.cancel()


async def run_server(app: Quart, listening: socket.socket, shutdown: Callable[[], Any]) -> None:
    """Hypercorn on a socket of ours, with limits that hold."""
    fanout.install()
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]  # Hypercorn owns it from here
    config.graceful_timeout = GOODBYE_S
    config.websocket_max_message_size = MESSAGE_BYTES_MAX
    config.keep_alive_max_requests = 1_000_000
    config.accesslog = None
    config.errorlog = None
    await hypercorn_serve(app, config, shutdown_trigger=shutdown)


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError that names the port and what to do."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(AttributeError, OSError):  # Linux only
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OSError(
            f"port {port} on {host} cannot be had: {error.strerror}; set JETSCAN_PORT"
        ) from error
    listening.listen(4096)
    listening.setblocking(False)
    return listening
