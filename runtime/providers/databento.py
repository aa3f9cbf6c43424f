"""Databento live: databento://XNAS.ITCH?symbols=AAPL,MSFT; the key in DATABENTO_KEY.

Lines of text until the session starts, then DBN. What was missed within a day is sent again on request,
so a session goes on where the one before it ended: it starts a little earlier, since events of one time
may have been cut apart, and leaves out what was given. Source: Databento, live API, raw protocol.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from runtime import telemetry
from runtime.providers import Batch, ProviderError, clocked, of_rows, take_parameters
from runtime.providers.asking import Asking
from runtime.providers.clocks import Watermark
from runtime.providers.databento_messages import DatabentoParser
from runtime.providers.live import PUBLISHED, QUIET_S, hints, raise_if_final, tell_refusals
from runtime.providers.messages import Control
from runtime.providers.parameters import secret, symbols_of
from runtime.providers.seen import REACH_NS, Key, Seen, unseen
from runtime.providers.trouble import CLOSED, MUTE, Dropped, code_of
from runtime.providers.universe import ALL, Universe

log = telemetry.get_logger(__name__)

PORT = 13_000
OPEN_S = 10.0
HEARTBEAT_S = 10
MUTE_S = 2.5 * HEARTBEAT_S  # a session that is alive says so at least every HEARTBEAT_S
SYMBOLS_A_REQUEST = 500
REPLAY_NS = 23 * 3600 * 10**9  # how far back a session may start; a day, less an hour for clocks
KEY_LETTERS = 5  # of the key, which the server tells it by
READ_BYTES = 1 << 16
LINE_BYTES_MAX = 4096
SCHEMAS = ("trades", "tbbo", "mbp-1", "status", "bbo-1s")
SEPARATORS = "|=\n\r"
EVERYTHING = "ALL_SYMBOLS"
GONE = "8"  # what a session was to start with is too old
PATTERN = r"\*|[A-Z0-9][A-Z0-9. ]{0,31}"


@dataclass(frozen=True)
class Known:
    """What was given before a session that starts in the past."""

    from_ns: int  # where it starts
    until_ns: int
    keys: set[Key]

    def sift(self, batch: Batch) -> Batch | None:
        """What was not given before."""
        ts_ns = batch.columns["ts_ns"]
        if int(ts_ns.min()) > self.until_ns:
            return batch
        after = of_rows(batch, ts_ns >= self.from_ns)
        return unseen(after, self.keys) if after is not None and self.keys else after


class Databento:
    """A provider: the batches of one session, with clock events.

    A session that began takes more symbols and gives none back: what is removed is left out here, and not
    asked for by the next session. A symbol is acknowledged when its instrument is named.
    """

    name = "databento"
    speed = 0.0
    warm_ns = 0
    mute_s = MUTE_S
    symbols_a_request = SYMBOLS_A_REQUEST
    spacing_s = 0.0
    answers = False

    def __init__(
        self, dataset: str, symbols: list[str], schemas: list[str], address: tuple[str, int]
    ) -> None:
        self._dataset, self._schemas, self._address = dataset, schemas, address
        self.universe = Universe(f"databento://{dataset}", symbols, PATTERN, removes=False)
        self._seen = Seen()
        self._gone_ns = 0  # up to here it said that it has nothing to send again

    def resumes(self, from_ns: int) -> bool:
        """Whether a session opened now goes on where one left off at an event time, so that nothing is missing."""
        return max(self._gone_ns, time.time_ns() - REPLAY_NS) < from_ns

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """Every batch after an event time that the vendor still has; raises Dropped when the session ends."""
        found = clocked(self._heard(after_ns), after_ns)
        return (one for one in found if one.kind != "hint")

    def _heard(self, after_ns: int) -> Iterator[Batch]:
        watermark = Watermark(after_ns)
        known = Known(after_ns + 1, after_ns, set())
        if self._seen.newest_ns:  # later than that is only the clock
            newest_ns = self._seen.newest_ns
            known = Known(newest_ns - REACH_NS, newest_ns, self._seen.keys())
        try:
            with socket.create_connection(self._address, OPEN_S) as connection:
                connection.settimeout(OPEN_S)
                self._authenticate(connection)
                asking = self._subscribe(connection, known.from_ns)
                connection.settimeout(QUIET_S)
                yield from self._followed(connection, watermark, known, asking)
        except TimeoutError as error:
            raise Dropped(self.name, MUTE) from error
        except OSError as error:
            raise Dropped(self.name, code_of(error)) from error

    # -- the session

    def _authenticate(self, connection: socket.socket) -> None:
        challenge = ""
        while not challenge:
            challenge = _line(connection).get("cram", "")
        key = secret("DATABENTO_KEY")
        digest = hashlib.sha256(f"{challenge}|{key}".encode()).hexdigest()
        told = {
            "auth": f"{digest}-{key[-KEY_LETTERS:]}",
            "dataset": self._dataset,
            "encoding": "dbn",
            "ts_out": "0",
            "compression": "none",
            "heartbeat_interval_s": str(HEARTBEAT_S),
            "client": "Jetscan",
        }
        connection.sendall(_said(told))
        answer = _line(connection)
        if answer.get("success") != "1":
            log.error("not signed in", source=self.name, reason=answer.get("error", ""))
            raise Dropped(self.name, "1")

    def _subscribe(self, connection: socket.socket, from_ns: int) -> Asking:
        begin = {"start": str(from_ns)} if self.resumes(from_ns) else {}
        target = self.universe.target()
        spelled = [self.universe.vendors(one) for one in target]
        connection.sendall(self._subscription(spelled, begin) + b"start_session=0\n")
        return Asking(self, self.universe, time.monotonic(), target)

    def _subscription(self, spelled: list[str], begin: dict[str, str]) -> bytes:
        lines = b""
        for schema in self._schemas:
            parts = _parts([EVERYTHING if one == ALL else one for one in spelled])
            for number, part in enumerate(parts):
                told = {"schema": schema, "stype_in": "raw_symbol", "symbols": ",".join(part)}
                told |= {"snapshot": "0", "is_last": str(int(number == len(parts) - 1))}
                lines += _said({**told, **begin})
        return lines

    def request(self, is_adding: bool, spelled: list[str]) -> bytes | str:
        """Every schema of some symbols, from now on; never fewer."""
        del is_adding
        return self._subscription(spelled, {})

    def acknowledged(self, control: Control) -> list[str]:
        """The symbol of an instrument; of everything the first one says that it comes."""
        return [ALL, *control.channels["mapped"]]

    def _followed(
        self, connection: socket.socket, watermark: Watermark, known: Known, asking: Asking
    ) -> Iterator[Batch]:
        parser = DatabentoParser()
        heard_s = time.monotonic()
        while True:
            request = asking.next(time.monotonic())
            if request is not None:
                connection.sendall(request if isinstance(request, bytes) else request.encode())
            try:
                data = connection.recv(READ_BYTES)
            except TimeoutError:
                if time.monotonic() - heard_s > self.mute_s:
                    raise Dropped(self.name, MUTE) from None
                yield from hints(watermark, time.time_ns())
                continue
            if not data:
                raise Dropped(self.name, CLOSED)
            heard_s = time.monotonic()
            # What is sent again is a day old at most: a time is held against no receipt.
            parsed = parser.parse(data)
            for control in parsed.controls:
                if control.kind == "slow":
                    log.warning("read too slowly", source=self.name, said=control.text)
                if control.code == GONE:
                    self._gone_ns = time.time_ns()
                if not asking.hear(control):
                    raise_if_final(self.name, control)
            tell_refusals(self.name, parsed)
            for heard in parsed.batches:
                batch = self.universe.sift(heard)
                new = None if batch is None else known.sift(batch)
                if new is not None and new.kind in PUBLISHED:
                    self._seen.note(new)
                    yield new


def _parts(symbols: list[str]) -> list[list[str]]:
    starts = range(0, len(symbols), SYMBOLS_A_REQUEST)
    return [symbols[start : start + SYMBOLS_A_REQUEST] for start in starts]


def _said(fields: dict[str, str]) -> bytes:
    return ("|".join(f"{name}={text}" for name, text in fields.items()) + "\n").encode()


def _line(connection: socket.socket) -> dict[str, str]:
    """The next line of text, byte by byte: what follows it is not text."""
    data = b""
    while not data.endswith(b"\n"):
        one = connection.recv(1)
        if not one or len(data) > LINE_BYTES_MAX:
            raise OSError("the session ended before it began")
        data += one
    pairs = data.decode("utf-8", "replace").strip().split("|")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def open_databento(dataset: str, given: dict[str, str]) -> Databento:
    """databento://DATASET?symbols=A,B&schemas=trades,status&host=HOST:PORT.

    schemas  trades, tbbo, mbp-1, status, bbo-1s; trades and status by default
    """
    dataset = dataset.strip("/").upper()
    taken = take_parameters(given, {"symbols": symbols_of, "schemas": _schemas, "host": _address})
    if not dataset or set(dataset) & set(SEPARATORS):
        raise ProviderError("databento: expected a dataset such as databento://XNAS.ITCH")
    if "symbols" not in taken:
        raise ProviderError("databento: expected ?symbols=AAPL,MSFT or ?symbols=ALL_SYMBOLS")
    if any(set(one) & set(SEPARATORS) for one in taken["symbols"]):
        raise ProviderError("databento: symbols: expected none of | and =")
    secret("DATABENTO_KEY")
    gateway = f"{dataset.lower().replace('.', '-')}.lsg.databento.com", PORT
    symbols = [ALL if one == EVERYTHING else one for one in taken["symbols"]]
    schemas = taken.get("schemas", ["trades", "status"])
    return Databento(dataset, symbols, schemas, taken.get("host", gateway))


def _schemas(text: str) -> list[str]:
    found = symbols_of(text)
    if not set(found) <= set(SCHEMAS):
        raise ValueError(f"expected some of {', '.join(SCHEMAS)}")
    return found


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    with contextlib.suppress(ValueError):
        return host, int(port)
    raise ValueError("expected HOST:PORT")
