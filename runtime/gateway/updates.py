"""One message for many clients: encoded once for each way of writing, when the first client wants it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from runtime.gateway import fanout
from runtime.shapes import encoded


@dataclass(frozen=True, eq=False)  # known by identity: it is looked up for every client
class Codec:
    """A way to write messages; `subprotocol` is how a client asks for it, "" = it need not."""

    subprotocol: str
    opcode: int
    encode: Callable[[Any], bytes]


def packed(message: Any) -> bytes:
    """A message as msgpack; what is no Unicode becomes a question mark, as a client may have said it."""
    written: bytes = msgpack.packb(message, unicode_errors="replace")
    return written


JSON = Codec("", fanout.TEXT, encoded)
MSGPACK = Codec("jetscan.msgpack", fanout.BINARY, packed)


class Update:
    """A message and its frames."""

    __slots__ = ("_frames", "message")

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self._frames: dict[Codec, bytes] = {}

    def frame(self, codec: Codec) -> bytes:
        """The WebSocket frame, the same bytes for every client."""
        found = self._frames.get(codec)
        if found is None:
            found = fanout.frame(codec.opcode, codec.encode(self.message))
            self._frames[codec] = found
        return found

    def payload(self, codec: Codec) -> bytes:
        """What is in the frame."""
        return fanout.payload_of(self.frame(codec))
