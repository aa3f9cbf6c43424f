"""A feed that sends trades at their times, in Alpaca's protocol and msgpack: `python -m bench.tape PLAN`.

PLAN is a JSON list of [trades a second, seconds]. The port is the first line of the output; when all is sent
comes what the sender itself was late by at most, in ms. Frames hold 1 to 50 trades. A trade's time is the moment
at which it was due, so that what is late here counts as late; its id is its number.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator

import msgpack
import numpy as np
from websockets.sync.server import ServerConnection, serve

SYMBOLS = 10_000
TRADES_A_FRAME = 50
UNSET = msgpack.Timestamp(2**33 + 12_345, 678_901_234)  # replaced by the time when it is sent
LATER_S = 1.0  # between the subscription and the first trade


def frames_of(plan: list[tuple[int, float]]) -> Iterator[tuple[float, bytes]]:
    """Seconds from the start at which each frame is due, and its bytes without a time."""
    draw = np.random.default_rng(3)
    number, from_s = 0, 0.0
    for per_s, seconds in plan:
        count, sent = round(per_s * seconds), 0
        while sent < count:
            size = min(int(draw.integers(1, TRADES_A_FRAME + 1)), count - sent)
            chosen = draw.integers(0, SYMBOLS, size).tolist()
            told = [_trade(number + k, symbol) for k, symbol in enumerate(chosen)]
            yield from_s + sent / per_s, msgpack.packb(told)
            number, sent = number + size, sent + size
        from_s += seconds


def _trade(number: int, symbol: int) -> dict[str, object]:
    told = {"T": "t", "S": f"S{symbol}", "i": number, "x": "V", "p": 10 + number % 97 / 100}
    return {**told, "s": 100, "c": ["@"], "z": "A", "t": UNSET}


def stamp(ns: int) -> bytes:
    """The eight bytes of a msgpack timestamp."""
    seconds, nanos = divmod(ns, 10**9)
    return (nanos << 34 | seconds).to_bytes(8, "big")


def send(socket: ServerConnection, frames: list[tuple[float, bytes]]) -> float:
    """Send every frame when it is due; returns seconds by which the latest was late."""
    unset = stamp(UNSET.to_unix_nano())
    began_ns = time.time_ns() + round(LATER_S * 1e9)
    latest_s = 0.0
    for due_s, data in frames:
        due_ns = began_ns + round(due_s * 1e9)
        late_s = (time.time_ns() - due_ns) / 1e9
        if late_s < 0:
            time.sleep(-late_s)
        latest_s = max(latest_s, late_s)
        socket.send(data.replace(unset, stamp(due_ns)))
    return latest_s


def main() -> None:
    """Serve one client, and end when it goes."""
    frames = list(frames_of(json.loads(sys.argv[1])))
    over = threading.Event()

    def play(socket: ServerConnection) -> None:
        for answer in ("connected", "authenticated"):
            socket.send(msgpack.packb([{"T": "success", "msg": answer}]))
            socket.recv()
        socket.send(msgpack.packb([{"T": "subscription", "trades": ["*"]}]))
        print(round(send(socket, frames) * 1000, 1), flush=True)
        for _ in socket:  # until the client ends
            pass
        over.set()

    with serve(play, "127.0.0.1", 0, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.socket.getsockname()[1], flush=True)
        over.wait()


if __name__ == "__main__":
    main()
