"""The one door to NATS: publish, read, fence and keep, with the traps of nats-py closed."""

from __future__ import annotations

import asyncio
import base64
import calendar
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import nats
import nats.aio.client
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from runtime import telemetry
from runtime.credentials import address_of, shown

log = telemetry.get_logger(__name__)

# 64 KB frames arrive in one or two reads instead of three (measured: half the CPU per frame).
nats.aio.client.DEFAULT_BUFFER_SIZE = 256 << 10

Callback = Callable[["Message"], Awaitable[None] | None]

EXPECT = "Nats-Expected-Last-Subject-Sequence"
MESSAGE_ID = "Nats-Msg-Id"
WRONG_LAST = 10071
ONE_IN_FLIGHT = 10164
FULL_CODES = frozenset({10077, 10023, 10047})  # stream, server or account has no room
REQUEST_S = 2.0
OPEN_S = 1.0  # at least, to say who we are: a wrong password is tried again and again otherwise
BUSY_S = 0.1  # a timer that comes later than this says that our own event loop stood still
RETRY_S = (0.05, 0.2, 0.5, 1.0)  # then every second
GROUP = "owner"
PULL_MESSAGES = 256
PULL_BYTES = 8 << 20
PULL_EXPIRES_S = 10.0
HEARTBEAT_S = 0.5
HEARTBEATS_MISSED_MAX = 4
LEFT_CHECK_S = 0.5  # without a message for so long, a reader to an end asks whether any is left
PENDING_BYTES = 64 << 20  # outgoing, while reconnecting; beyond it publishing fails at once


class BusError(Exception):
    """Something NATS did not do; the text says what and what to do."""


class Closed(BusError):
    """The connection is closed for good; the process should end and be restarted."""


class NobodyThere(BusError):
    """No process answers on that subject."""


class Silence(BusError):
    """No answer within the time given; whether it was done is unknown."""


class Refused(BusError):
    """The server refused a fenced write: the subject's last sequence is another."""


class Full(BusError):
    """The stream has no room and discards nothing."""


class ApiError(BusError):
    """JetStream answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (JetStream error {code})")
        self.code = code


class LostPlace(BusError):
    """A pull lost its place (consumer gone, pinned to another, messages missed): open it again."""


@dataclass(slots=True)
class Message:
    """One message; `sequence` and `ts_ns` are 0 outside JetStream."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    sequence: int = 0
    ts_ns: int = 0
    reply: str = ""
    consumer_sequence: int = 0
    pending: int = 0
    delivered: int = 1  # times a consumer has delivered it, this one included


@dataclass(frozen=True)
class Entry:
    """One key of a bucket and the revision of its value."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True)
class StreamState:
    """First and last sequence of a stream and what it holds."""

    first: int
    last: int
    messages: int
    bytes: int


@dataclass(frozen=True)
class ConsumerState:
    """What a consumer has not delivered, and what has not been acknowledged."""

    pending: int
    unacknowledged: int
    delivered: int
    acknowledged: int


class Listener:
    """A core subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    async def stop(self) -> None:
        """End the subscription; messages under way are dropped."""
        with contextlib.suppress(nats.errors.Error):
            await self._subscription.unsubscribe()


class Bus:
    """A connection to NATS."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self.reconnects = 0
        self.errors = 0
        self._refusal = ""  # why the server does not let us in
        self._closed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._streams = _Streams()

    @classmethod
    async def connect(cls, url: str, name: str, connect_s: float = 10.0) -> Bus:
        """Connect, trying for `connect_s` seconds; raises Closed naming the address."""
        bus = cls(Client())
        until = time.monotonic() + connect_s
        while True:
            reason = "nothing listens there"
            # nats-py would retry the first connect for ever, without a word: knock first.
            if await _answers(url):
                try:
                    async with asyncio.timeout(max(until - time.monotonic(), OPEN_S)):
                        await bus._open(url, name)
                except (OSError, nats.errors.Error, TimeoutError) as error:
                    reason = bus._refusal or str(error) or type(error).__name__
                    await bus._connection.close()
                    bus = cls(Client())
                else:
                    bus._watch = asyncio.create_task(bus._watch_reading())
                    return bus
            if time.monotonic() > until:
                raise Closed(
                    f"NATS at {shown(url)} does not answer within {connect_s:g} s: {reason}"
                )
            await asyncio.sleep(0.1)

    async def _open(self, url: str, name: str) -> None:
        address = address_of(url)
        await self._connection.connect(
            address.servers,
            user=address.user or None,
            password=address.password or None,
            inbox_prefix=address.inbox,
            name=name,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; fractions work
            connect_timeout=2,
            ping_interval=3,
            max_outstanding_pings=2,
            pending_size=PENDING_BYTES,
            flusher_queue_size=4096,
            drain_timeout=5,
            error_cb=self._on_error,
            reconnected_cb=self._on_reconnected,
            disconnected_cb=self._on_disconnected,
            closed_cb=self._on_closed,
        )

    @property
    def connected(self) -> bool:
        """Whether the server can be reached right now."""
        return self._connection.is_connected

    @property
    def closed(self) -> asyncio.Event:
        """Set when the connection is gone for good."""
        return self._closed

    async def close(self) -> None:
        """Flush what is pending and disconnect."""
        if self._watch:
            self._watch.cancel()
        if not self._connection.is_closed:
            with contextlib.suppress(nats.errors.Error, TimeoutError):
                await asyncio.wait_for(self._connection.flush(2), 2)
            await self._connection.close()

    async def _on_error(self, error: Exception) -> None:
        self.errors += 1  # an exception here would kill the read loop: count, never raise
        if "authorization" in str(error).lower():
            self._refusal = f"{error}; see JETSCAN_NATS_USER and JETSCAN_NATS_PASSWORD"
        log.warning("nats error", error=str(error) or type(error).__name__)

    async def _on_reconnected(self) -> None:
        self.reconnects += 1
        telemetry.RECONNECTS.inc()
        log.info("nats reconnected", url=str(self._connection.connected_url))

    async def _on_disconnected(self) -> None:
        if not self._connection.is_closed:
            log.warning("nats disconnected")

    async def _on_closed(self) -> None:
        self._closed.set()

    async def _watch_reading(self) -> None:
        """A read task that died leaves a connection that looks alive: close it for good."""
        while not self._closed.is_set():
            await asyncio.sleep(1)
            task = self._connection._reading_task
            if self._connection.is_connected and task is not None and task.done():
                log.error("nats read task died; closing")
                await self._connection.close()

    # -- core NATS

    async def publish(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Publish without acknowledgement."""
        self._refuse_oversize(subject, data, headers)
        try:
            await self._connection.publish(
                subject, data, reply=reply, headers=dict(headers) if headers else None
            )
        except nats.errors.ConnectionClosedError as error:
            raise Closed("the connection to NATS is closed") from error
        except nats.errors.OutboundBufferLimitError as error:
            raise Silence("NATS is away and the outgoing buffer is full") from error

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        timeout_s: float = REQUEST_S,
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """Ask; raises NobodyThere, Silence or Closed."""
        self._refuse_oversize(subject, data, headers)
        asked, cancelled = time.monotonic(), _times_cancelled()
        try:
            answer = await self._connection.request(
                subject, data, timeout=timeout_s, headers=dict(headers) if headers else None
            )
        except nats.errors.NoRespondersError as error:
            raise NobodyThere(f"nobody answers on {subject}") from error
        except nats.errors.ConnectionClosedError as error:
            raise Closed("the connection to NATS is closed") from error
        except (nats.errors.Error, TimeoutError) as error:
            late_s = time.monotonic() - asked - timeout_s
            whose = f"; this process was busy itself, its timer came {late_s:.1f} s late"
            raise Silence(
                f"no answer on {subject} within {timeout_s:g} s{whose if late_s > BUSY_S else ''}"
            ) from error
        if _times_cancelled() > cancelled:  # lost where it came together with the answer
            raise asyncio.CancelledError
        return _message(answer)

    def _refuse_oversize(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None
    ) -> None:
        """The server would answer an oversize message by closing the connection for good."""
        size = len(data) + sum(len(k) + len(v) + 4 for k, v in (headers or {}).items())
        if size > self._connection.max_payload - 256:
            raise BusError(
                f"{subject}: {size} bytes; the server takes {self._connection.max_payload}"
            )

    async def listen(self, subject: str, callback: Callback, queue: str = "") -> Listener:
        """Call `callback` with every message published on `subject` from now on."""

        async def received(message: Msg) -> None:
            result = callback(_message(message))
            if result is not None:
                await result

        return await self._subscribed(subject, received, queue)

    async def _subscribed(
        self, subject: str, received: Callable[[Msg], Awaitable[None]], queue: str = ""
    ) -> Listener:
        try:
            return Listener(await self._connection.subscribe(subject, queue=queue, cb=received))
        except nats.errors.ConnectionClosedError as error:
            raise Closed("the connection to NATS is closed") from error

    async def respond(self, subject: str, answer: Callable[[Message], bytes]) -> Listener:
        """Answer requests on `subject` from this event loop."""

        async def received(message: Msg) -> None:
            if message.reply:
                await self._connection.publish(message.reply, answer(_message(message)))

        return await self._subscribed(subject, received)

    async def gather(self, subject: str, data: bytes = b"", wait_s: float = 0.4) -> list[Message]:
        """Ask everybody; the answers that came within `wait_s`."""
        answers: list[Message] = []
        inbox = self._connection.new_inbox()
        listener = await self.listen(inbox, answers.append)
        await self.publish(subject, data, reply=inbox)
        await asyncio.sleep(wait_s)
        await listener.stop()
        return [answer for answer in answers if answer.headers.get("Status") != "503"]

    # -- JetStream: writing

    async def put(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
    ) -> int:
        """Store a message, retrying until it is; returns its sequence.

        `message_id` makes the retries one message. A full stream makes the caller wait.
        """
        sent = {**(headers or {}), **({MESSAGE_ID: message_id} if message_id else {})}
        return await self._stored(subject, data, sent)

    async def put_expecting(
        self, subject: str, data: bytes, last: int, headers: Mapping[str, str] | None = None
    ) -> int:
        """Store a message if the subject's last sequence is `last`, else raise Refused.

        After a silence the same write is tried again, so a Refused may mean that it was stored:
        the caller looks at the subject's last message to know.
        """
        return await self._stored(subject, data, {**(headers or {}), EXPECT: str(last)})

    async def _stored(self, subject: str, data: bytes, headers: dict[str, str]) -> int:
        attempt = 0
        began = time.perf_counter()
        while True:
            try:
                answer = await self.request(subject, data, REQUEST_S, headers)
                stream, sequence = _acknowledged(answer.data)
                took_s = time.perf_counter() - began
                telemetry.note_published(*self._streams.note(subject, stream), took_s)
                return sequence
            except (NobodyThere, Silence, Full) as error:
                telemetry.PUBLISH_ERRORS.labels(*self._streams.of(subject)).inc()
                if attempt in (2, 10) or attempt % 60 == 59:
                    log.warning("write waits", subject=subject, attempt=attempt, reason=str(error))
            except ApiError as error:
                if error.code == WRONG_LAST:
                    raise Refused(f"{subject}: {error}") from error
                if error.code != ONE_IN_FLIGHT:
                    raise
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1

    # -- JetStream: reading

    async def api(self, subject: str, body: Any = None, timeout_s: float = REQUEST_S) -> Any:
        """A JetStream API request; raises ApiError, NobodyThere, Silence."""
        data = b"" if body is None else json.dumps(body).encode()
        answer = json.loads((await self.request(f"$JS.API.{subject}", data, timeout_s)).data)
        if "error" in answer:
            raise ApiError(int(answer["error"].get("err_code", 0)), answer["error"]["description"])
        return answer

    async def last(self, stream: str, subject: str) -> Message | None:
        """The last message on a subject, read from the stream's leader."""
        return await self._stored_message(stream, {"last_by_subj": subject})

    async def first(self, stream: str, subject: str, start: int) -> Message | None:
        """The first message on a subject (wildcards allowed) at or after a sequence."""
        return await self._stored_message(stream, {"seq": start, "next_by_subj": subject})

    async def at(self, stream: str, sequence: int) -> Message | None:
        """The message at a sequence, None if there is none."""
        return await self._stored_message(stream, {"seq": sequence})

    async def _stored_message(self, stream: str, query: dict[str, Any]) -> Message | None:
        try:
            found = (await self.api(f"STREAM.MSG.GET.{stream}", query))["message"]
        except ApiError as error:
            if error.code == 10037:  # no message found
                return None
            raise
        headers = base64.b64decode(found["hdrs"]) if found.get("hdrs") else b""
        data = base64.b64decode(found["data"]) if found.get("data") else b""
        return Message(
            found["subject"], data, _parsed_headers(headers), found["seq"], _ns(found["time"])
        )

    async def newest(self, stream: str, subjects: list[str]) -> dict[str, Message]:
        """The last message of each subject (wildcards allowed), in one exchange.

        May be answered by a replica that lags: for hints and lists, not for decisions.
        """
        found: dict[str, Message] = {}
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def received(message: Msg) -> None:
            status = (message.headers or {}).get("Status")
            if status is None:
                one = _direct_message(message)
                found[one.subject] = one
            elif not done.done():
                done.set_result(None)  # 204 end, 404 none

        inbox = self._connection.new_inbox()
        listener = await self._subscribed(inbox, received)
        try:
            query = json.dumps({"multi_last": subjects, "batch": 1024}).encode()
            await self._connection.publish(f"$JS.API.DIRECT.GET.{stream}", query, reply=inbox)
            async with asyncio.timeout(REQUEST_S):
                await done
        except (nats.errors.Error, TimeoutError) as error:
            raise Silence(f"no answer from stream {stream}") from error
        finally:
            await listener.stop()
        return found

    async def stream_state(self, stream: str) -> StreamState:
        """First and last sequence, messages and bytes of a stream."""
        state = (await self.api(f"STREAM.INFO.{stream}"))["state"]
        return StreamState(state["first_seq"], state["last_seq"], state["messages"], state["bytes"])

    async def consumer_state(self, stream: str, consumer: str) -> ConsumerState | None:
        """How far a consumer is behind; None if there is none of that name."""
        try:
            info = await self.api(f"CONSUMER.INFO.{stream}.{consumer}")
        except ApiError as error:
            if error.code == 10014:
                return None
            raise
        return ConsumerState(
            info["num_pending"],
            info["num_ack_pending"],
            info["delivered"]["stream_seq"],
            info["ack_floor"]["stream_seq"],
        )

    async def history(self, stream: str, subject: str, last: int) -> list[Message]:
        """The newest `last` messages of a subject, oldest first."""
        state = await self.stream_state(stream)
        messages: list[Message] = []
        newest = await self.last(stream, subject)
        if newest is None:
            return messages
        start = max(state.first, newest.sequence - last + 1)
        while True:
            messages = []
            async for message in self.read_to(stream, [subject], start, newest.sequence):
                messages.append(message)
            if len(messages) >= last or start <= state.first:
                return messages[-last:]
            start = max(state.first, newest.sequence - 4 * (newest.sequence - start + 1))

    async def read(
        self, stream: str, subjects: list[str], start: int | str = "new"
    ) -> AsyncIterator[Message]:
        """Every message from `start` (a sequence, "first" or "new"), once, in order, without end."""
        if start == "new":
            following = (await self.stream_state(stream)).last + 1
        else:
            following = 1 if start == "first" else int(start)
        while True:
            pull = await self._ephemeral(stream, subjects, following)
            try:
                while True:
                    message = await pull.next()
                    following = message.sequence + 1
                    yield message
            except LostPlace as error:
                log.info("reader lost its place", stream=stream, reason=str(error))
                await asyncio.sleep(0.1)
            finally:
                await pull.stop()

    async def read_to(
        self, stream: str, subjects: list[str], start: int, last: int
    ) -> AsyncIterator[Message]:
        """Every message from sequence `start` to `last`, once, in order; it ends where none is left.

        A message that was deleted or expired is not waited for, be it the last.
        """
        following = start
        while following <= last:
            pull = await self._ephemeral(stream, subjects, following)
            try:
                while await pull.ready(LEFT_CHECK_S) or await pull.is_left():
                    if not pull.queued:
                        continue
                    message = await pull.next()
                    following = message.sequence + 1
                    if message.sequence <= last:
                        yield message
                    if message.sequence >= last or not message.pending:
                        return
                return
            except LostPlace as error:
                log.info("reader lost its place", stream=stream, reason=str(error))
                await asyncio.sleep(0.1)
            finally:
                await pull.stop()

    async def _ephemeral(self, stream: str, subjects: list[str], start: int) -> Pull:
        config = {
            "filter_subjects": subjects,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(start, 1),
            "inactive_threshold": 60 * 10**9,
            "mem_storage": True,
            "num_replicas": 1,
        }
        attempt = 0
        while True:
            try:
                made = await self.api(
                    f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config}
                )
                break
            except (NobodyThere, Silence, ApiError) as error:
                if self._connection.is_closed:
                    raise Closed("the connection to NATS is closed") from error
                if attempt % 20 == 4:
                    log.warning("reader waits", stream=stream, reason=str(error))
                attempt += 1
                await asyncio.sleep(0.25)
        pull = Pull(self, stream, made["name"], in_order=True)
        await pull.start()
        return pull

    # -- owned consumers

    async def ensure_consumer(
        self,
        stream: str,
        name: str,
        subjects: list[str],
        pinned: bool,
        ack_wait_s: float = 3600,
        waiting_max: int = 1000,
    ) -> None:
        """Create or update a durable consumer; `pinned` delivers to one client at a time.

        waiting_max  messages delivered or handed back and not acknowledged; then none is delivered
        """
        config: dict[str, Any] = {
            "durable_name": name,
            "filter_subjects": subjects,
            "ack_policy": "all" if pinned else "explicit",
            "deliver_policy": "all",
            "max_ack_pending": -1 if pinned else waiting_max,
            "max_deliver": -1,
            "ack_wait": int(ack_wait_s * 1e9),
        }
        if pinned:
            config |= {
                "priority_groups": [GROUP],
                "priority_policy": "pinned_client",
                "priority_timeout": 60 * 10**9,
            }
        await self.api(
            f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}
        )

    async def take_consumer(
        self, stream: str, name: str, subjects: list[str], following: int
    ) -> Pull:
        """Cut off whoever is pinned and deliver to us from sequence `following`.

        A request that still waits from the one cut off is served before ours, and another may move
        the consumer before our first message comes: that one is compared with the stream.
        """
        with contextlib.suppress(ApiError):  # nobody is pinned
            await self.api(f"CONSUMER.UNPIN.{stream}.{name}", {"group": GROUP})
        await self.api(f"CONSUMER.RESET.{stream}.{name}", {"seq": max(following, 1)})
        start = Start(subjects, max(following, 1))
        pull = Pull(self, stream, name, in_order=True, start=start)
        await pull.start()
        return pull

    async def share_consumer(self, stream: str, name: str, batch: int) -> Pull:
        """Pull from a durable that several processes share; every message is acknowledged itself."""
        pull = Pull(self, stream, name, in_order=False, batch=batch)
        await pull.start()
        return pull

    async def acknowledge(self, message: Message) -> None:
        """This message (and, on an owned consumer, all before it) is done."""
        await self.publish(message.reply, b"+ACK")

    async def hand_back(self, message: Message, delay_s: float) -> None:
        """Deliver this message again after `delay_s`."""
        await self.publish(
            message.reply, b"-NAK " + json.dumps({"delay": int(delay_s * 1e9)}).encode()
        )

    async def still_working(self, message: Message) -> None:
        """Extend the time until this message is delivered to somebody else."""
        await self.publish(message.reply, b"+WPI")

    def kv(self, bucket: str) -> Kv:
        """A key-value bucket."""
        return Kv(self, bucket)


@dataclass
class Start:
    """Where a pinned consumer begins: the first message on any of the subjects from a sequence on."""

    subjects: list[str]
    following: int


class Pull:
    """A continuous pull: bounded in messages and bytes, in order, noticing every gap and silence.

    in_order  nobody else pulls from the consumer: its deliveries come without a gap
    start     of a consumer that is pinned to one client at a time
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        consumer: str,
        *,
        in_order: bool,
        start: Start | None = None,
        batch: int = PULL_MESSAGES,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._consumer = consumer
        self._in_order = in_order
        self._start = start
        self._batch = batch
        self._reconnects = bus.reconnects
        self._queue: deque[Message | LostPlace] = deque()  # at most `batch` messages are asked for
        self._arrived = asyncio.Event()
        self._listener: Listener | None = None
        self._watch: asyncio.Task[None] | None = None
        self._inbox = ""
        self._pin = ""
        self._outstanding = 0  # messages asked for and not yet received
        self._asked_at = 0.0
        self._heard_at = 0.0
        self._consumer_sequence = 0
        self._lost = False
        self.pending = 0  # messages the consumer had not delivered when the newest one left it

    async def start(self) -> None:
        """Subscribe and ask for the first messages."""
        connection = self._bus._connection
        self._inbox = connection.new_inbox()
        subscription = await connection.subscribe(
            self._inbox, cb=self._received, pending_bytes_limit=8 * PULL_BYTES
        )
        self._listener = Listener(subscription)
        await self._ask()
        self._watch = asyncio.create_task(self._watch_silence())

    async def stop(self) -> None:
        """End the pull; what is queued is dropped and will be delivered again."""
        if self._watch:
            self._watch.cancel()
        if self._listener:
            await self._listener.stop()

    @property
    def queued(self) -> int:
        """Messages received and not yet taken."""
        return len(self._queue)

    async def ready(self, timeout_s: float) -> bool:
        """Wait until `next` would answer at once; safe to cancel, unlike a message half taken."""
        if not self._queue:
            self._arrived.clear()
            if self._outstanding <= self._batch // 2:  # `take_while` may have taken all there was
                await self._ask()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
        return bool(self._queue)

    async def next(self) -> Message:
        """The next message; raises LostPlace when the pull must be opened again."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        if self._outstanding + len(self._queue) <= self._batch // 2:
            await self._ask()  # before the message is taken: a cancelled caller loses nothing
        item = self._queue.popleft()
        if isinstance(item, LostPlace):
            raise item
        return item

    async def is_left(self) -> bool:
        """Whether messages that were stored have not come yet; raises LostPlace where the consumer is gone."""
        path = f"CONSUMER.INFO.{self._stream}.{self._consumer}"
        try:
            info = await self._bus.api(path)
        except ApiError as error:
            raise LostPlace(str(error)) from error
        except (NobodyThere, Silence):
            return True  # nothing is known: wait on
        is_under_way = info["delivered"]["consumer_seq"] > self._consumer_sequence
        return bool(info["num_pending"]) or is_under_way

    def take_while(self, is_wanted: Callable[[Message], bool]) -> list[Message]:
        """Messages that are here already, up to the first one that is not wanted."""
        taken: list[Message] = []
        while self._queue:
            item = self._queue[0]
            if isinstance(item, LostPlace) or not is_wanted(item):
                break
            self._queue.popleft()
            taken.append(item)
        return taken

    async def _ask(self) -> None:
        wanted = self._batch - self._outstanding - len(self._queue)
        if wanted <= 0 or self._lost:
            return
        request: dict[str, Any] = {
            "batch": wanted,
            "max_bytes": PULL_BYTES,
            "expires": int(PULL_EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        if self._start is not None:
            request["group"] = GROUP
            if self._pin:
                request["id"] = self._pin
        self._outstanding += wanted
        self._asked_at = self._heard_at = time.monotonic()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        try:
            await self._bus.publish(subject, json.dumps(request).encode(), reply=self._inbox)
        except BusError as error:
            self._lose(str(error))

    async def _received(self, raw: Msg) -> None:
        self._heard_at = time.monotonic()
        headers = raw.headers or {}
        status, why = headers.get("Status"), headers.get("Description", "")
        if status is None:
            await self._take(_delivered_message(raw))
        elif status == "100":
            return  # heartbeat
        elif status in ("404", "408") or "MaxBytes" in why or "Batch Completed" in why:
            self._outstanding = 0
            await self._ask()
        else:
            self._lose(f"{status} {why}")

    async def _take(self, message: Message) -> None:
        if self._lost or self._was_cut():
            return
        expected = self._consumer_sequence + 1
        if self._in_order and message.consumer_sequence != expected:
            self._lose(f"delivery {message.consumer_sequence} came, {expected} was due")
            return
        if self._start is not None:
            if expected == 1 and not await self._is_first(message, self._start):
                return
            self._pin = message.headers.get("Nats-Pin-Id", self._pin)
        self._consumer_sequence = message.consumer_sequence
        self._outstanding = max(0, self._outstanding - 1)
        self.pending = message.pending
        self._queue.append(message)
        self._arrived.set()

    def _was_cut(self) -> bool:
        """Whether the connection is another than at the start; what was under way then is gone."""
        if self._in_order and self._bus.reconnects != self._reconnects:
            self._lose("the connection was made again")
        return self._lost

    async def _is_first(self, message: Message, start: Start) -> bool:
        """Whether the stream has nothing between where we asked to begin and what came first."""
        if message.sequence == start.following:
            return True
        try:
            found = await asyncio.gather(
                *(self._bus.first(self._stream, one, start.following) for one in start.subjects)
            )
        except BusError as error:
            self._lose(f"it is not known whether {message.sequence} is the first: {error}")
            return False
        first = min((one.sequence for one in found if one is not None), default=message.sequence)
        if message.sequence < start.following or first < message.sequence:
            due = max(first, start.following)
            self._lose(f"message {message.sequence} came first, {due} was due")
        return not self._lost

    def _lose(self, reason: str) -> None:
        if not self._lost:
            self._lost = True
            self._queue.append(LostPlace(reason))
            self._arrived.set()

    async def _watch_silence(self) -> None:
        """No heartbeat while something is asked for: ask again, then give the place up."""
        missed = 0
        while not self._lost:
            await asyncio.sleep(HEARTBEAT_S)
            if self._bus._connection.is_closed:
                self._lose("connection closed")
            elif self._was_cut():
                return
            elif time.monotonic() - self._heard_at < 2.5 * HEARTBEAT_S or not self._bus.connected:
                missed = 0
            else:
                missed += 1
                if missed > HEARTBEATS_MISSED_MAX:
                    self._lose("no heartbeat")
                self._outstanding = 0
                await self._ask()
                self._heard_at = time.monotonic() - 2.5 * HEARTBEAT_S


@dataclass
class Kv:
    """A key-value bucket on plain publishes: compare-and-set by revision, reads from the leader."""

    bus: Bus
    bucket: str
    _prefix: str = field(init=False)
    _stream: str = field(init=False)

    def __post_init__(self) -> None:
        self._prefix = f"$KV.{self.bucket}."
        self._stream = f"KV_{self.bucket}"

    async def get(self, key: str) -> Entry | None:
        """The value of a key, or None."""
        return self._entry(await self.bus.last(self._stream, self._prefix + key))

    async def written(self, key: str) -> bytes | None:
        """The value of a key that is written once; a seventh of the time of `get`.

        Any replica may answer, as the bytes are stored, not as JSON; one that has nothing may lag, so the
        leader is asked.
        """
        try:
            subject = f"$JS.API.DIRECT.GET.{self._stream}.{self._prefix}{key}"
            found = await self.bus.request(subject)
        except NobodyThere:
            found = None
        if found is not None and "Status" not in found.headers:
            return found.data
        entry = await self.get(key)
        return entry.value if entry else None

    async def revision(self, key: str) -> int:
        """The revision of the last change to a key, deletions included; 0 if there never was one."""
        message = await self.bus.last(self._stream, self._prefix + key)
        return message.sequence if message else 0

    async def put(self, key: str, value: bytes) -> int:
        """Set a key whatever it holds."""
        return await self.bus.put(self._prefix + key, value)

    async def create(self, key: str, value: bytes) -> int:
        """Set a key that has no value; raises Refused if it has one."""
        message = await self.bus.last(self._stream, self._prefix + key)
        if message is not None and self._entry(message) is not None:
            raise Refused(f"{self.bucket}: {key} exists")
        return await self.update(key, value, message.sequence if message else 0)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Set a key if its revision is still `revision`; raises Refused."""
        return await self.bus.put_expecting(self._prefix + key, value, revision)

    async def delete(self, key: str) -> None:
        """Remove a key; its deletion is seen as a change."""
        await self.bus.put(self._prefix + key, b"", {"KV-Operation": "DEL"})

    async def purge(self, key: str) -> None:
        """Remove a key without a trace."""
        await self.bus.api(f"STREAM.PURGE.{self._stream}", {"filter": self._prefix + key})

    async def all(self, prefix: str = "") -> dict[str, Entry]:
        """Every key that begins with `prefix` (whole tokens), with its value."""
        pattern = f"{self._prefix}{prefix}{'.' if prefix else ''}>"
        found: dict[str, Entry] = {}
        for message in (await self.bus.newest(self._stream, [pattern])).values():
            entry = self._entry(message)
            if entry is not None:
                found[entry.key] = entry
        return found

    async def keys(self, prefix: str) -> list[str]:
        """The keys below `prefix` (whole tokens), without their values."""
        query = {"subjects_filter": f"{self._prefix}{prefix}.>"}
        state = (await self.bus.api(f"STREAM.INFO.{self._stream}", query))["state"]
        return [subject.removeprefix(self._prefix) for subject in state.get("subjects") or ()]

    async def sequence(self) -> int:
        """The sequence of the newest change in the whole bucket."""
        return (await self.bus.stream_state(self._stream)).last

    async def hints(self, callback: Callable[[str], Awaitable[None] | None]) -> Listener:
        """Call `callback(key)` when a key may have changed; read it again to know."""

        def changed(message: Message) -> Awaitable[None] | None:
            return callback(message.subject.removeprefix(self._prefix))

        return await self.bus.listen(self._prefix + ">", changed)

    def _entry(self, message: Message | None) -> Entry | None:
        if message is None or message.headers.get("KV-Operation") in ("DEL", "PURGE"):
            return None
        if message.headers.get("Nats-Marker-Reason"):
            return None  # left behind when the key expired
        return Entry(message.subject.removeprefix(self._prefix), message.data, message.sequence)


async def _answers(url: str) -> bool:
    """Whether something listens at the address of a nats:// URL."""
    host, _, port = url.rpartition("://")[2].rpartition("@")[2].partition(",")[0].rpartition(":")
    if url.startswith("ws"):
        return True
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 1)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _times_cancelled() -> int:
    """How often our own task was cancelled: `asyncio.wait_for` of Python 3.11, in nats-py, may lose one."""
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


def _message(raw: Msg) -> Message:
    return Message(raw.subject, raw.data, raw.headers or {}, reply=raw.reply)


def _delivered_message(raw: Msg) -> Message:
    # $JS.ACK. ... .<stream seq>.<consumer seq>.<stored ns>.<pending>: read from the end, whatever
    # the version of the subject
    tokens = raw.reply.split(".")
    return Message(
        raw.subject,
        raw.data,
        raw.headers or {},
        int(tokens[-4]),
        int(tokens[-2]),
        raw.reply,
        int(tokens[-3]),
        int(tokens[-1]),
        int(tokens[-5]),
    )


def _direct_message(raw: Msg) -> Message:
    headers = raw.headers or {}
    return Message(
        headers["Nats-Subject"],
        raw.data,
        headers,
        int(headers["Nats-Sequence"]),
        _ns(headers["Nats-Time-Stamp"]),
    )


class _Streams:
    """Which stream stores a subject, as acknowledgements tell it: the labels of what is counted."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}  # by the first two tokens of a subject

    def note(self, subject: str, stream: str) -> tuple[str, str]:
        """Remember where a subject is stored; returns its labels."""
        first, last = _ends(subject)
        self._known[first] = stream
        return stream, last

    def of(self, subject: str) -> tuple[str, str]:
        """The stream and the partition; unknown before anything was stored."""
        first, last = _ends(subject)
        return self._known.get(first, "unknown"), last


def _ends(subject: str) -> tuple[str, str]:
    """The first two tokens of a subject, and its partition or `all`."""
    tokens = subject.split(".", 2)
    last = subject.rpartition(".")[2]
    is_partition = last.isdigit() and not subject.startswith("$")
    return ".".join(tokens[:2]), last if is_partition else "all"


def _acknowledged(data: bytes) -> tuple[str, int]:
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise ApiError(0, f"not an acknowledgement: {data[:80]!r}") from error
    if "error" not in answer:
        return str(answer["stream"]), int(answer["seq"])
    code = int(answer["error"].get("err_code", 0))
    text = answer["error"].get("description", "")
    if code in FULL_CODES:
        raise Full(f"{text} (JetStream error {code}); raise its max_bytes in subjects.yaml")
    if code in (10008, 10009, 10076) or answer["error"].get("code") == 503:
        raise Silence(f"{text} (JetStream error {code})")
    raise ApiError(code, text)


def _parsed_headers(raw: bytes) -> dict[str, str]:
    headers = {}
    for line in raw.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers


def _ns(text: str) -> int:
    """Nanoseconds of an RFC 3339 time in UTC."""
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int((rest + "000000000")[:9])
