"""Market data, one vendor per file: what a provider is, and the clock that event time makes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from runtime.frames import Array, Frame
from runtime.providers.clocks import Watermark

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
GAP_NS = 120 * SECOND_NS  # after this long without a trade the clock ticks by minutes
END_NS = 2 * SECOND_NS  # past the last minute, so that its bar closes


class ProviderError(ValueError):
    """A feed that cannot be opened or read; the text says what was expected."""


@dataclass(frozen=True)
class Batch:
    """Events of one kind, in the order in which they are to be published.

    `index` points into `symbols`, the provider's own table, which only grows. A clock batch has
    neither; each of its rows is one clock event.
    """

    kind: str  # trades, corrections, quotes, status, gaps, clock, daily, reference or minutes
    columns: dict[str, Array]
    symbols: list[str]
    index: Array | None
    at_ns: Array | None = None  # event time of each where that is not `ts_ns`: of a correction

    def __len__(self) -> int:
        return len(self.columns["ts_ns"])

    @property
    def base(self) -> str:
        """The subject the batch is published on."""
        return f"ticks.{self.kind}"

    @property
    def times(self) -> Array:
        """Event time at which each is published."""
        return self.columns["ts_ns"] if self.at_ns is None else self.at_ns

    @property
    def newest_ns(self) -> int:
        """The newest event time in the batch."""
        return int(self.times.max())


class Provider(Protocol):
    """A source of batches; pure: pacing and publishing are `runtime.ingest`'s."""

    name: str
    speed: float  # event seconds per second; 0: as fast as possible
    warm_ns: int  # event time from the start on that is published as fast as possible

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        """Every batch after event time `after_ns` (0: from the beginning)."""
        ...


def clocks_between(before_ns: int, until_ns: int) -> Array:
    """The clock events after `before_ns` up to and including `until_ns`.

    One at every whole second. Where no trade comes for two minutes, one at every whole minute: a
    night costs hundreds of clock events, not tens of thousands. Both follow from the data alone.
    """
    first = (before_ns // SECOND_NS + 1) * SECOND_NS
    if until_ns - before_ns <= GAP_NS:
        return np.arange(first, until_ns + 1, SECOND_NS, dtype=np.int64)
    seconds = np.arange(first, before_ns + GAP_NS + 1, SECOND_NS, dtype=np.int64)
    last_minute = until_ns // MINUTE_NS * MINUTE_NS
    minute = (int(seconds[-1]) // MINUTE_NS + 1) * MINUTE_NS
    minutes = np.arange(minute, last_minute + 1, MINUTE_NS, dtype=np.int64)
    rest = np.arange(max(last_minute, int(seconds[-1])) + SECOND_NS, until_ns + 1, SECOND_NS)
    return np.concatenate([seconds, minutes, rest.astype(np.int64)])


def ticks_between(before_ns: int, until_ns: int, step_ns: int, fine_until_ns: int) -> Array:
    """Of `clocks_between` those up to `fine_until_ns`, and after it those at whole steps."""
    if step_ns == SECOND_NS:
        return clocks_between(before_ns, until_ns)
    fine = clocks_between(before_ns, min(until_ns, fine_until_ns))
    first = max(before_ns, fine_until_ns) // step_ns * step_ns + step_ns
    return np.concatenate([fine, np.arange(first, until_ns + 1, step_ns, dtype=np.int64)])


def clocked(
    trades: Iterable[Batch], after_ns: int = 0, step_ns: int = SECOND_NS
) -> Iterator[Batch]:
    """Cut batches at whole seconds of event time and put the clock events between them.

    A clock event for second s comes after every earlier-arrived trade, before the first trade whose
    time is at or past s. Trades that are older than the clock stay where they arrived, and so do those
    whose time lies ahead of their receipt (column `recv_ns`, see `runtime.providers.clocks`).

    With a `step_ns` of a minute only the clock events at whole minutes come, but all of them for a
    minute and more after what is no trade: see `by_minute` of `runtime.function`.
    """
    fine_until_ns = 0
    clock_ns = after_ns // SECOND_NS * SECOND_NS if after_ns else 0
    newest_ns = after_ns
    watermark = Watermark(after_ns)
    for batch in trades:
        times = _event_times(batch, newest_ns, watermark)
        seconds = times // SECOND_NS * SECOND_NS
        if batch.kind != "trades":
            fine_until_ns = (int(times[-1]) // MINUTE_NS + 2) * MINUTE_NS
        if not clock_ns:
            clock_ns = int(seconds[0])
            yield clock_batch(np.array([clock_ns], dtype=np.int64))
        seconds = np.where(times < fine_until_ns, seconds, times // step_ns * step_ns)
        cuts = np.flatnonzero(np.diff(seconds, prepend=max(clock_ns, 0)) > 0)
        start = 0
        for cut in cuts.tolist():
            if cut > start:
                yield _part(batch, start, cut)
            start = cut
            yield clock_batch(ticks_between(clock_ns, int(seconds[cut]), step_ns, fine_until_ns))
            clock_ns = int(seconds[cut])
        yield _part(batch, start, len(batch))
        newest_ns = int(times[-1])
    if clock_ns:
        end_ns = (newest_ns // MINUTE_NS + 1) * MINUTE_NS + END_NS
        yield clock_batch(ticks_between(clock_ns, end_ns, step_ns, fine_until_ns))


def _event_times(batch: Batch, newest_ns: int, watermark: Watermark) -> Array:
    """Event time at each event; one that lies ahead of its receipt does not move it on."""
    times, received = batch.times, batch.columns.get("recv_ns")
    if received is None:
        return np.asarray(np.maximum.accumulate(np.maximum(times, newest_ns)))
    return watermark.advance(times, received)


def clock_batch(times: Array) -> Batch:
    """Clock events at these times."""
    return Batch("clock", {"ts_ns": times}, [], None)


def _part(batch: Batch, start: int, stop: int) -> Batch:
    if start == 0 and stop == len(batch):
        return batch
    rows = slice(start, stop)
    columns = {name: values[rows] for name, values in batch.columns.items()}
    index, at_ns = (None if one is None else one[rows] for one in (batch.index, batch.at_ns))
    return Batch(batch.kind, columns, batch.symbols, index, at_ns)


def of_rows(batch: Batch, keep: Array) -> Batch | None:
    """Some events of a batch; None where there are none."""
    if not keep.any() or batch.index is None:
        return None
    if keep.all():
        return batch
    columns = {name: values[keep] for name, values in batch.columns.items()}
    at_ns = None if batch.at_ns is None else batch.at_ns[keep]
    return Batch(batch.kind, columns, batch.symbols, batch.index[keep], at_ns)


def open_provider(url: str) -> Provider:
    """The provider of a URL: sim://?symbols=500&seed=7 or file:///trades.parquet?speed=max."""
    from runtime.providers import alpaca, crypto, databento, file, massive, sim
    from runtime.providers.labelled import provider as labelled

    parts = urlsplit(url)
    openers: dict[str, Callable[..., Provider]] = {
        "sim": sim.open_sim,
        "file": file.open_file,
        "labelled": labelled.open_labelled,
        "alpaca": alpaca.open_alpaca,
        "massive": massive.open_massive,
        "databento": databento.open_databento,
        "binance": crypto.open_binance,
        "coinbase": crypto.open_coinbase,
    }
    if parts.scheme not in openers:
        raise ProviderError(f"{url}: expected one of {', '.join(f'{s}://' for s in openers)}")
    try:
        given = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise ProviderError(f"{url}: expected ?name=value&name=value after the address") from error
    return openers[parts.scheme](parts.netloc + parts.path, given)


def take_parameters(
    given: dict[str, str], known: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """Converted parameters; raises ProviderError naming the nearest known one."""
    taken = {}
    for name, text in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ProviderError(f"parameter {name}: expected one of {', '.join(known)}{hint}")
        try:
            taken[name] = known[name](text)
        except ValueError as error:
            raise ProviderError(f"parameter {name}: {text!r} is not understood: {error}") from error
    return taken


def speed_of(text: str) -> float:
    """`max` or a positive number of event seconds per second."""
    if text == "max":
        return 0.0
    speed = float(text)
    if speed <= 0:
        raise ValueError("expected max or a number above 0")
    return speed


def backtest_events(
    files: list[str],
    progress: Callable[[int, int], None],
    daily: list[Path] | None = None,
    reference: list[Path] | None = None,
    minutes: list[Path] | None = None,
) -> Iterator[tuple[str, Frame]]:
    """Trades, clock events and what is known beside them, from files, as frames in the order of a live feed."""
    from runtime.providers.beside import informed
    from runtime.providers.file import FileProvider

    provider = FileProvider([Path(name) for name in files])
    done, told = 0, 0
    for batch in informed(provider, daily or [], reference or [], minutes or []).batches():
        done += len(batch) if batch.kind == "trades" else 0
        if done - told > 100_000:
            told = done
            progress(done, provider.trades)
        yield batch.base, frame_of(batch, provider.name)
    progress(done, provider.trades)


def frame_of(batch: Batch, source: str) -> Frame:
    """A batch as one frame with only the symbols that occur in it."""
    if batch.index is None:
        return Frame(dict(batch.columns), source=source)
    return frame_of_rows(batch, slice(None), source)


def frame_of_rows(batch: Batch, rows: Any, source: str) -> Frame:
    """Some events of a batch with symbols, as a frame."""
    assert batch.index is not None
    used, index = np.unique(batch.index[rows], return_inverse=True)
    columns = {name: values[rows] for name, values in batch.columns.items()}
    return Frame(columns, [batch.symbols[one] for one in used], index, source)
