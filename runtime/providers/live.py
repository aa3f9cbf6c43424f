"""A vendor's websocket as batches: open, say hello, read, and move event time on when nobody trades.

What is the same for every vendor is here; a vendor says where it is, how it is greeted and what its
frames mean. It is read in a thread of its own (`mute_s`), so everything here may wait.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol, cast

import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from runtime import telemetry
from runtime.providers import SECOND_NS, Batch, ProviderError, clocked
from runtime.providers.asking import Asking, Subscriber
from runtime.providers.clocks import Watermark
from runtime.providers.exchange import open_between
from runtime.providers.losses import TRADES, gap_batch
from runtime.providers.messages import Control, Parsed
from runtime.providers.numbering import Numbered
from runtime.providers.trouble import CLOSED, MUTE, Dropped, code_of, request_fault
from runtime.providers.universe import Universe

log = telemetry.get_logger(__name__)

OPEN_S = 10.0
CLOSE_S = 1.0  # for the vendor's goodbye: who is mute says none
HELLO_S = 10.0
QUIET_S = 1.0  # of silence: then event time follows the wall, as far as the feed is late at most
LAG_NS = 2 * SECOND_NS  # by which it stays behind, so that what is on its way is not late
PING_S = 20.0
FRAME_BYTES_MAX = 16 << 20
NAMED_MAX = 10  # symbols in a reason
UNKNOWN_MAX = 100  # names of a vendor that are counted one by one
_UNKNOWN: dict[str, set[str]] = {}
JOINED_FRAMES = 32  # that wait are parsed at once: of 64 a trade costs a tenth more
PUBLISHED = frozenset(("trades", "quotes", "status", "corrections", "reference"))


class Vendor(Subscriber, Protocol):
    """One vendor's side of a session."""

    url: str
    headers: dict[str, str]
    keeps_hours: bool  # it says nothing while New York's exchanges are closed
    is_numbered: bool  # trades are numbered without holes, per symbol: it is a `ByNumber` too
    universe: Universe

    def hello(self, talk: Talk) -> None:
        """Authenticate; raises Dropped where the vendor says no."""
        ...

    def parse(self, data: bytes, received_ns: int) -> Parsed:
        """What a frame holds."""
        ...


class ByNumber(Protocol):
    """A vendor that sends trades again by their numbers."""

    def missed(self, symbol: str, after: int, until: int) -> Iterator[Parsed]:
        """Trades past a number, to another one or, where that is no later, to the newest; raises ProviderError."""
        ...


class Talk:
    """The first exchange of a session, with a limit on every answer."""

    def __init__(self, vendor: Vendor, socket: ClientConnection) -> None:
        self._vendor, self._socket = vendor, socket
        self.early: list[Parsed] = []  # events that came among the answers

    def say(self, text: str | bytes) -> None:
        """Send a message."""
        self._socket.send(text)

    def wait_for(self, kind: str) -> Control:
        """The next control of a kind; raises Dropped for an error, or silence."""
        until = time.monotonic() + HELLO_S
        while True:
            try:
                data = self._socket.recv(timeout=max(0.0, until - time.monotonic()))
            except TimeoutError as error:
                raise Dropped(self._vendor.name, MUTE) from error
            parsed = self._vendor.parse(_bytes(data), time.time_ns())
            self.early.append(parsed)
            for control in parsed.controls:
                if control.kind == kind:
                    return control
                raise_if_final(self._vendor.name, control)


class Live:
    """A provider: the batches of one connection, with clock events; see `runtime.connections` for more than one."""

    speed = 0.0  # nothing is paced: it comes when it comes
    warm_ns = 0

    def __init__(self, vendor: Vendor, mute_s: float) -> None:
        self.vendor, self.name, self.mute_s = vendor, vendor.name, mute_s
        self.universe = vendor.universe
        self._numbered = Numbered()
        self._left: dict[
            str, tuple[int, int]
        ] = {}  # the newest of each symbol before this connection
        # What is asked again by time overlaps with what goes on; by number it does not.
        self.overlaps = not vendor.is_numbered
        # Only a provider that can send again has this: see `runtime.connections`.
        self.again = self._by_number if vendor.is_numbered else getattr(vendor, "again", None)

    def open_between(self, from_ns: int, to_ns: int) -> bool:
        """Whether something could have been said between two wall times: nobody always speaks."""
        is_open = not self.vendor.keeps_hours or open_between(from_ns, to_ns)
        return is_open and self.universe.is_expecting

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """Every batch from now on; raises Dropped when the connection ends."""
        found = clocked(self._heard(), after_ns)
        return (one for one in found if one.kind != "hint")

    def _heard(self) -> Iterator[Batch]:
        watermark = Watermark()
        self._numbered.keep(self.universe.follows)
        self._left = self._numbered.newest()
        self.open_between(time.time_ns(), time.time_ns())  # reads the calendar, where nobody waits
        with self._opened() as socket:
            talk = Talk(self.vendor, socket)
            try:
                self.vendor.hello(talk)
                for parsed in talk.early:
                    yield from self._taken(parsed, watermark)
                yield from self._followed(socket, watermark)
            except ConnectionClosed as error:
                raise Dropped(self.name, _code_of(error)) from error

    def _opened(self) -> ClientConnection:
        try:
            return connect(
                self.vendor.url,
                additional_headers=self.vendor.headers,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                ping_interval=PING_S,
                max_size=FRAME_BYTES_MAX,
                compression="deflate",
            )
        except InvalidStatus as error:
            raise Dropped(self.name, str(error.response.status_code)) from error
        except (InvalidHandshake, EOFError) as error:
            raise Dropped(self.name, CLOSED) from error
        except OSError as error:
            raise Dropped(self.name, code_of(error)) from error

    def _followed(self, socket: ClientConnection, watermark: Watermark) -> Iterator[Batch]:
        heard_s = time.monotonic()
        asking, revision = Asking(self.vendor, self.universe, heard_s), self.universe.revision
        while True:
            if revision != self.universe.revision:
                revision = self.universe.revision
                self._numbered.keep(self.universe.follows)
            request = asking.next(time.monotonic())
            if request is not None:
                socket.send(request)
            try:
                data = socket.recv(timeout=QUIET_S)
            except TimeoutError:
                now_ns = time.time_ns()
                if not self.open_between(now_ns, now_ns):
                    # Pings find a dead socket; silence means nothing now.
                    heard_s = time.monotonic()
                if time.monotonic() - heard_s > self.mute_s:
                    raise Dropped(self.name, MUTE) from None
                yield from hints(watermark, time.time_ns())
                continue
            heard_s = time.monotonic()
            parsed = self._parsed(socket, _bytes(data))
            for control in parsed.controls:
                if not asking.hear(control):
                    raise_if_final(self.name, control)
            yield from self._taken(parsed, watermark)

    def _by_number(self, from_ns: int, to_ns: int) -> Iterator[Batch]:
        """What each symbol's numbers show to be missing, however the times of a gap were told."""
        del from_ns, to_ns
        return self._missed(cast(ByNumber, self.vendor), self._left)

    def _missed(self, vendor: ByNumber, left: dict[str, tuple[int, int]]) -> Iterator[Batch]:
        """Trades of each symbol past what was had of it, then the news that nothing of it is missing."""
        lacking = []
        for symbol, (after, after_ns) in left.items():
            if not self.universe.follows(symbol):
                continue
            until, _ = self._numbered.newest().get(symbol, (after, after_ns))
            for parsed in vendor.missed(symbol, after, until):
                tell_refusals(self.name, parsed)
                for heard in parsed.batches:
                    batch = self.universe.sift(heard)
                    yield from () if batch is None else self._numbered.sift(batch)
            if not self._numbered.is_whole(symbol, after):
                lacking.append(symbol)
                continue
            _, newest_ns = self._numbered.newest().get(symbol, (after, after_ns))
            newest_ns = max(newest_ns, after_ns)
            only = np.zeros(1, dtype=np.int64)
            yield gap_batch(
                [symbol], only, newest_ns, after_ns, newest_ns, TRADES, is_repaired=True
            )
        if lacking:
            named = ", ".join(lacking[:NAMED_MAX])
            raise ProviderError(f"{self.name}: trades of {named} were not sent again")

    def _parsed(self, socket: ClientConnection, data: bytes) -> Parsed:
        """What a frame holds, with those that wait behind it where the vendor's parser takes several."""
        parse_joined = getattr(self.vendor, "parse_joined", None)
        if parse_joined is None:
            return self.vendor.parse(data, time.time_ns())
        parsed: Parsed = parse_joined([data, *waiting(socket)], time.time_ns())
        return parsed

    def _taken(self, parsed: Parsed, watermark: Watermark) -> Iterator[Batch]:
        tell_refusals(self.name, parsed)
        for heard in parsed.batches:
            batch = self.universe.sift(heard)
            if batch is None or batch.kind not in PUBLISHED:
                continue
            received = batch.columns.get("recv_ns")
            if received is not None:
                watermark.advance(batch.columns["ts_ns"], received)
            yield from self._numbered.sift(batch) if self.vendor.is_numbered else (batch,)


def waiting(socket: ClientConnection) -> Iterator[bytes]:
    """Frames that came already; an end of the connection is left to the next wait."""
    with contextlib.suppress(TimeoutError, ConnectionClosed):
        for _ in range(JOINED_FRAMES - 1):
            yield _bytes(socket.recv(timeout=0))


def tell_refusals(vendor: str, parsed: Parsed) -> None:
    """Count what nobody knew and what was refused, and say why."""
    for what, times in parsed.unknown.items():
        telemetry.FEED_UNKNOWN.labels(vendor, _bounded(vendor, what)).inc(times)
    if parsed.refusals:
        telemetry.FEED_REFUSED.labels(vendor).inc(parsed.refusals)
        reason = parsed.refused[0]
        log.warning("messages refused", source=vendor, count=parsed.refusals, reason=reason)


def _bounded(vendor: str, what: str) -> str:
    """A vendor's name of something, as long as it has few: each is a series of its own."""
    known = _UNKNOWN.setdefault(vendor, set())
    if what not in known and len(known) >= UNKNOWN_MAX:
        return "other"
    known.add(what)
    return what


def raise_if_final(vendor: str, control: Control) -> None:
    """Raises Dropped for what ends a connection; a request that was refused changes nothing."""
    if control.kind not in ("error", "closing"):
        return
    if request_fault(vendor, control.code):
        log.error("request refused", source=vendor, code=control.code, reason=control.text)
        return
    raise Dropped(vendor, control.code)


def hints(watermark: Watermark, now_ns: int) -> Iterator[Batch]:
    """Event time by the wall: a market in which nobody trades has a clock as well."""
    if not watermark.newest_ns:
        return
    reached_ns = (now_ns - watermark.floor_ns - LAG_NS) // SECOND_NS * SECOND_NS
    if reached_ns > watermark.newest_ns:
        watermark.newest_ns = reached_ns
        yield Batch("hint", {"ts_ns": np.array([reached_ns])}, [], np.zeros(1, dtype=np.int64))


def _bytes(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _code_of(error: ConnectionClosed) -> str:
    return str(error.rcvd.code) if error.rcvd is not None else CLOSED
