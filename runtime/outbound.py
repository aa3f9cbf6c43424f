"""Requests and mail on behalf of users: signed, bounded, and one bad target never in the way of others.

What came back                          outcome
2xx; mail taken                         ok
408 425 429 5xx; no connection,         later
no answer in time; SMTP 4xx; our own
login to the mail server refused
any other status; SMTP 5xx; a target    never
that is refused
(a lane has enough under way, or just   busy: nothing was sent
failed and waits)

A lane is one target of one user. While it fails it gets one try at a time, with growing pauses;
others do not notice.
"""

from __future__ import annotations

import asyncio
import email.message
import email.utils
import hashlib
import hmac
import json
import logging
import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import aiosmtplib
import httpx

from runtime.config import Settings
from runtime.targets import GuardedTransport, TargetRefused

TIMEOUT_S = 10.0  # for the whole exchange, so that an answer in drops cannot hold it
CONNECT_S = 5.0
ANSWER_BYTES_MAX = 64 << 10  # read of an answer; the rest is not
REASON_MAX = 200
CONNECTIONS_MAX = 200
LANE_AT_ONCE = 4
LANES_MAX = 20_000  # remembered; beyond it the longest unused is forgotten
BUSY_S = 1.0
PAUSE_S, PAUSE_MAX_S = 1.0, 300.0
WAIT_MAX_S = 3600.0  # however long the other side asks for
LATER = frozenset({408, 425, 429})
SIGNATURE = "X-Jetscan-Signature"

# At INFO httpx logs addresses, and those of Telegram and Discord hold the token.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Answer:
    """What became of one try: ok, later, never or busy; status 0 where none was told."""

    outcome: str
    status: int = 0
    reason: str = ""
    wait_s: float = 0.0  # asked for by the other side; 0 = it did not ask
    at_ns: int = 0


@dataclass(frozen=True)
class Attempt:
    """Which try of a message this is, from 1, and how long ago the message was stored."""

    number: int
    age_s: float


@dataclass
class _Lane:
    running: int = 0
    failures: int = 0
    retry_at: float = 0.0


class Outbound:
    """The way out, for all sinks of a process."""

    def __init__(self, settings: Settings) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=20)
        transport = (
            httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
            if settings.delivery_private
            else GuardedTransport(limits)
        )
        self._http = httpx.AsyncClient(
            transport=transport,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
            headers={"User-Agent": "jetscan", "Accept-Encoding": "identity"},
        )
        self._smtp_url, self._smtp_from = settings.smtp_url, settings.smtp_from
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def send(self, lane: str, request: Mapping[str, Any], identity: str) -> Answer:
        """What a function wants sent: {"to", "subject", "text"}, or {"url", "body", "headers"?, "secret"?}."""
        if "to" in request:
            to, subject, text = request["to"], request["subject"], request["text"]
            return await self.mail(lane, to, subject, text, identity)
        body, secret = request["body"].encode(), request.get("secret", "")
        return await self.post(lane, request["url"], body, request.get("headers"), secret)

    async def post(
        self,
        lane: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        secret: str = "",
    ) -> Answer:
        """POST JSON; with a secret it is signed with the time (`signature`)."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        if secret:
            sent[SIGNATURE] = signature(secret, body, int(time.time()))
        return await self._in_lane(lane, lambda: self._posted(url, body, sent))

    async def mail(self, lane: str, to: str, subject: str, text: str, message_id: str) -> Answer:
        """Send a mail through the operator's server."""
        return await self._in_lane(lane, lambda: self._mailed(to, subject, text, message_id))

    def pause_s(self, tries: int) -> float:
        """How long to wait after so many failures: exponential, with full jitter."""
        return random.uniform(PAUSE_S / 4, min(PAUSE_MAX_S, PAUSE_S * 2.0 ** min(tries, 30)))

    # -- lanes

    async def _in_lane(self, name: str, send: Callable[[], Any]) -> Answer:
        lane = self._lanes.setdefault(name, _Lane())
        self._lanes.move_to_end(name)
        wait_s = lane.retry_at - time.monotonic()
        if lane.running >= (1 if lane.failures else LANE_AT_ONCE) or wait_s > 0:
            return Answer("busy", reason="others are before it", wait_s=max(wait_s, BUSY_S))
        lane.running += 1
        try:
            answer: Answer = await send()
        finally:
            lane.running -= 1
        if answer.outcome == "later":
            lane.failures += 1
            lane.retry_at = time.monotonic() + (answer.wait_s or self.pause_s(lane.failures))
        else:
            lane.failures, lane.retry_at = 0, 0.0
        while len(self._lanes) > LANES_MAX:
            self._lanes.popitem(last=False)
        return answer

    # -- HTTP

    async def _posted(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        host = _host_of(url)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                request = self._http.build_request("POST", url, content=body, headers=headers)
                response = await self._http.send(request, stream=True)
                try:
                    text = await _beginning(response)
                finally:
                    await response.aclose()
        except TargetRefused as error:
            return _answer("never", 0, str(error))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError, ValueError):
            return _answer("never", 0, "the address cannot be used: expected https://HOST/PATH")
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            return _answer("later", 0, f"{host}: {type(error).__name__}")
        return _judged(host, response, text)

    # -- mail

    async def _mailed(self, to: str, subject: str, text: str, message_id: str) -> Answer:
        if not self._smtp_url:
            return _answer("later", 0, "no mail server: JETSCAN_SMTP_URL is not set")
        server = urlsplit(self._smtp_url)
        try:
            message = self._message(to, subject, text, message_id)
            async with asyncio.timeout(TIMEOUT_S):
                await aiosmtplib.send(
                    message,
                    hostname=server.hostname,
                    port=server.port,
                    username=unquote(server.username) if server.username else None,
                    password=unquote(server.password) if server.password else None,
                    use_tls=server.scheme == "smtps",
                    start_tls=None,  # where the server offers it
                    timeout=TIMEOUT_S,
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            code = error.recipients[0].code if error.recipients else 550
            return _answer("never" if code >= 500 else "later", code, "the recipient is refused")
        except aiosmtplib.SMTPAuthenticationError as error:  # the operator's fault, no target's
            return _answer(
                "later", error.code, "the mail server refuses the login of JETSCAN_SMTP_URL"
            )
        except aiosmtplib.SMTPResponseException as error:
            return _answer("never" if error.code >= 500 else "later", error.code, error.message)
        except (aiosmtplib.SMTPException, TimeoutError, OSError) as error:
            return _answer("later", 0, f"mail server: {type(error).__name__}")
        except ValueError as error:
            return _answer("never", 0, f"the mail cannot be written: {error}")
        return _answer("ok", 250)

    def _message(
        self, to: str, subject: str, text: str, message_id: str
    ) -> email.message.EmailMessage:
        message = email.message.EmailMessage()
        message["From"], message["To"] = self._smtp_from, to
        message["Subject"] = " ".join(subject.split())[:200]
        message["Date"] = email.utils.formatdate()
        message["Message-ID"] = f"<{message_id}@jetscan>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message


def signature(secret: str, body: bytes, now_s: int) -> str:
    """`t=...,v1=...`: HMAC-SHA256 of the time in seconds, a dot and the body."""
    signed = f"{now_s}.".encode() + body
    return f"t={now_s},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


def _answer(outcome: str, status: int, reason: str = "", wait_s: float = 0.0) -> Answer:
    return Answer(outcome, status, reason[:REASON_MAX], wait_s, time.time_ns())


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"


async def _beginning(response: httpx.Response) -> bytes:
    text = b""
    async for chunk in response.aiter_raw():
        text += chunk
        if len(text) >= ANSWER_BYTES_MAX:
            break
    return text[:ANSWER_BYTES_MAX]


def _judged(host: str, response: httpx.Response, text: bytes) -> Answer:
    status = response.status_code
    if 200 <= status < 300:
        return _answer("ok", status)
    if status in LATER or status >= 500:
        wait_s = _wait_s(response, text) if status in (429, 503) else 0.0
        return _answer("later", status, f"{host} answered {status}", wait_s)
    return _answer("never", status, f"{host} answered {status}")


def _wait_s(response: httpx.Response, text: bytes) -> float:
    """How long the other side wants us to wait: Retry-After, or as Discord and Telegram say it."""
    told: Any = response.headers.get("Retry-After")
    if told is None:
        try:
            answer = json.loads(text)
            told = answer.get("retry_after") or answer["parameters"]["retry_after"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return 0.0
    try:
        wait_s = float(told)
    except (ValueError, TypeError):
        wait_s = _until_s(str(told))
    return min(max(wait_s, 0.0), WAIT_MAX_S) if math.isfinite(wait_s) else 0.0


def _until_s(text: str) -> float:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return 0.0
