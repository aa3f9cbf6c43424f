"""What a feed does to true prints: late, twice, out of order, odd lots among them, wrong and taken back.

late        a share of the prints arrives 1 to `late_max_s` later; the pair of a second may change places
odd lots    additional prints of 1 to 99 shares that count in the volume only
duplicates  the same print with the same id once more, within two seconds
amended     half of them prints that never were, a few percent away, cancelled 5 to 20 s later;
            the other half true prints told with a wrong price, corrected 5 to 20 s later
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from runtime.frames import Array
from runtime.providers.labelled.market import Columns

SECOND_NS = 1_000_000_000
VOLUME_ONLY = 1


class Dirt(NamedTuple):
    """How dirty a feed is: shares of the true prints."""

    late: float
    late_max_s: int
    odd_lots: float
    duplicates: float
    amended: float


DIRT = {
    "clean": Dirt(0.0, 1, 0.0, 0.0, 0.0),
    "usual": Dirt(0.01, 10, 0.10, 0.002, 0.001),
    "bad": Dirt(0.05, 90, 0.35, 0.02, 0.01),
}


@dataclass(frozen=True)
class Arrivals:
    """Prints and corrections in order of arrival, each with `arrived_ns`."""

    trades: Columns
    corrections: Columns


def arrivals(trades: Columns, level: str, seed: int) -> Arrivals:
    """The prints of a market as a feed of this dirtiness (a key of DIRT) tells them."""
    dirt = DIRT[level]
    draw = np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 3, 0]))
    count = len(trades["ts_ns"])
    told = {**trades, "arrived_ns": trades["ts_ns"].copy()}
    corrections, bogus = _amended(draw, told, dirt)
    late = draw.random(count) < dirt.late
    delay_ns = np.where(late, draw.integers(1, dirt.late_max_s + 1, count), 0) * SECOND_NS
    corrections["arrived_ns"] = corrections["arrived_ns"] + _of(delay_ns, corrections["place"])
    del corrections["place"]
    told["arrived_ns"] = told["arrived_ns"] + delay_ns
    parts = [told, bogus, _odd_lots(draw, told, dirt), _again(draw, told, dirt)]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in told}
    return Arrivals(_by_arrival(whole), _by_arrival(corrections))


def _of(values: Array, place: Array) -> Array:
    return np.where(place >= 0, values[np.maximum(place, 0)], 0)


def _by_arrival(columns: Columns) -> Columns:
    order = np.lexsort((columns["id"], columns["arrived_ns"]))
    return {name: values[order] for name, values in columns.items()}


def _picked(draw: np.random.Generator, columns: Columns, share: float) -> tuple[Array, Columns]:
    place = np.flatnonzero(draw.random(len(columns["ts_ns"])) < share)
    return place, {name: values[place] for name, values in columns.items()}


def _odd_lots(draw: np.random.Generator, told: Columns, dirt: Dirt) -> Columns:
    place, odd = _picked(draw, told, dirt.odd_lots)
    odd["ts_ns"] = odd["ts_ns"] + 10_000_000
    odd["arrived_ns"] = odd["ts_ns"]
    odd["price"] = np.round(odd["price"] * (1 + 0.001 * draw.standard_normal(len(place))), 2)
    odd["size"] = draw.integers(1, 100, len(place)).astype(float)
    odd["upd"] = np.full(len(place), VOLUME_ONLY, dtype=np.uint8)
    odd["id"] = odd["id"] + 1_000_000_000
    return odd


def _again(draw: np.random.Generator, told: Columns, dirt: Dirt) -> Columns:
    place, again = _picked(draw, told, dirt.duplicates)
    again["arrived_ns"] = again["arrived_ns"] + draw.integers(0, 2 * SECOND_NS, len(place))
    return again


def _amended(draw: np.random.Generator, told: Columns, dirt: Dirt) -> tuple[Columns, Columns]:
    """(corrections, prints that never were); wrong prices are written into `told`.

    `place` of a correction is that of the true print it mends, -1 where there is none.
    """
    place, bogus = _picked(draw, told, dirt.amended / 2)
    bogus["ts_ns"] = bogus["ts_ns"] + 20_000_000
    bogus["arrived_ns"] = bogus["ts_ns"]
    bogus["price"] = _wrong(draw, bogus["price"])
    bogus["id"] = bogus["id"] + 2_000_000_000
    cancels = _correction(draw, bogus, np.full(len(place), np.nan), np.zeros(len(place)))
    cancels["place"] = np.full(len(place), -1)
    place, mended = _picked(draw, told, dirt.amended / 2)
    true_price = mended["price"]
    mended["price"] = _wrong(draw, true_price)
    told["price"] = told["price"].copy()
    told["price"][place] = mended["price"]
    mends = _correction(draw, mended, true_price, mended["size"])
    mends["place"] = place
    return {name: np.concatenate([cancels[name], mends[name]]) for name in cancels}, bogus


def _wrong(draw: np.random.Generator, price: Array) -> Array:
    away = draw.choice([-1.0, 1.0], len(price)) * draw.uniform(0.01, 0.03, len(price))
    return np.round(price * (1 + away), 2)


def _correction(
    draw: np.random.Generator, original: Columns, new_price: Array, new_size: Array
) -> Columns:
    count = len(new_price)
    names = ("ts_ns", "id", "price", "size", "upd", "who")
    return {
        **{name: original[name] for name in names},
        "new_price": new_price,
        "new_size": new_size,
        "new_upd": original["upd"],
        "arrived_ns": original["arrived_ns"] + draw.integers(5, 21, count) * SECOND_NS,
    }
