"""Many WebSocket clients in one process, on raw sockets: when which update came to whom.

Run by the bench `fanout` as a process of its own: it says `ready` when all follow, and at the end of its
input writes what it heard, two columns of int64 (monotonic ns, number of the update), as a .npy file.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from array import array
from pathlib import Path

import numpy as np

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
AT_ONCE = 100  # connections opened together: fewer than the server's backlog
READ_BYTES = 1 << 16
STALLED_BYTES = 4096  # what a client that reads nothing has room for
SHORT_MAX = 200  # updates are longer than answers
SEQ_DIGITS = 7  # numbers of updates are of one length, right before the closing braces


def masked(payload: bytes) -> bytes:
    """A client's text frame with a mask of zeros (RFC 6455, 5.3), up to 125 bytes."""
    return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload


def connected(address: tuple[str, int], count: int, is_stalled: bool) -> list[socket.socket]:
    """So many connections that follow."""
    found: list[socket.socket] = []
    hello = HANDSHAKE.format(host=address[0], port=address[1]).encode()
    subscribe = masked(b'{"type":"subscribe_toplist","toplist_id":"gainers_5m"}')
    while len(found) < count:
        fresh = []
        for _ in range(min(AT_ONCE, count - len(found))):
            one = socket.socket()
            if is_stalled:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BYTES)
            one.connect(address)
            one.sendall(hello)
            fresh.append(one)
        for one in fresh:
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += one.recv(1)
            if b" 101 " not in answer:
                raise ConnectionError(answer.decode("latin-1"))
            one.sendall(subscribe)
        found += fresh
    return found


class Heard:
    """What came on every connection."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self.times, self.numbers = array("q"), array("q")
        self._left: dict[int, bytes] = {one.fileno(): b"" for one in sockets}
        self._sockets = {one.fileno(): one for one in sockets}
        self._poll = select.epoll()
        for place in self._sockets:
            self._poll.register(place, select.EPOLLIN)
        self._poll.register(sys.stdin.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Read until standard input ends."""
        stdin = sys.stdin.fileno()
        while True:
            for place, _ in self._poll.poll():
                if place == stdin:
                    if not os.read(stdin, 4096):
                        return
                    continue
                data = self._sockets[place].recv(READ_BYTES)
                if data:
                    self._take(place, data)
                else:
                    self._poll.unregister(place)

    def _take(self, place: int, data: bytes) -> None:
        now = time.monotonic_ns()
        left = self._left[place]
        data, at = left + data if left else data, 0
        size = len(data)
        while size - at >= 4:
            length, head = data[at + 1], 2
            if length == 126:
                length, head = (data[at + 2] << 8) | data[at + 3], 4
            end = at + head + length
            if end > size:
                break
            if length > SHORT_MAX:
                self.times.append(now)
                self.numbers.append(int(data[end - 2 - SEQ_DIGITS : end - 2]))
            at = end
        self._left[place] = data[at:]

    def save(self, file: Path) -> None:
        """Write both columns."""
        np.save(file, np.array([self.times, self.numbers], dtype=np.int64))


def main() -> None:
    """host port clients stalled file"""
    host, port, clients, stalled, file = sys.argv[1:]
    address = (host, int(port))
    asleep = connected(address, int(stalled), is_stalled=True)
    heard = Heard(connected(address, int(clients), is_stalled=False))
    print("ready", flush=True)
    heard.run()
    heard.save(Path(file))
    for one in asleep:
        one.close()


if __name__ == "__main__":
    main()
