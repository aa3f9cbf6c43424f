"""A backtest in several processes: each runs a share of the symbols, this one puts together what they say, moment by moment."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from runtime import telemetry
from runtime.backtest import BacktestError, Followers, Result
from runtime.backtest_moments import Event, Market, Moment
from runtime.loader import Plan
from runtime.subjects import Subjects

MOMENTS_A_BLOCK = 16  # a message of a share
BLOCKS_AHEAD = 8  # that a share may be ahead of the slowest: what is in memory is bounded
END_S = 5.0  # for a process to end once it is asked to


class Source(Protocol):
    """The events of one share of the symbols, for another process: it can be pickled."""

    def events(self) -> Iterator[Event]:
        """(base subject, frame), in order; clock events are those of the whole market."""
        ...


@dataclass(frozen=True)
class Work:
    """What every share runs, for another process: it can be pickled.

    plan   loads the functions, as they are to run
    rules  a control body
    """

    plan: Callable[[], Plan]
    subjects: Subjects
    rules: str


@dataclass(frozen=True)
class Failed:
    """Why a share came to its end early."""

    reason: str
    trace: str


Block = list[Moment]


def run_shares(
    work: Work,
    plan: Plan,
    source_of: Callable[[int], Source],
    shares: int,
    kept: tuple[str, ...],
    progress: Callable[[int], None],
) -> Result:
    """What `run_backtest` does, with a process for each share; raises BacktestError.

    plan       what `work.plan` gives
    source_of  the events of a share
    progress   is told how many bars, or trades, were fed
    """
    followers = Followers(plan, work.subjects, kept)
    with _Processes(work, source_of, shares, followers.wanted) as processes:
        for blocks in processes.blocks():
            for moments in zip(*blocks, strict=True):
                followers.take(list(moments))
            progress(followers.result.fed or followers.result.trades)
    return followers.result


class _Processes:
    """The processes of all shares, each behind a pipe; they end with the block that has them."""

    def __init__(
        self,
        work: Work,
        source_of: Callable[[int], Source],
        shares: int,
        wanted: frozenset[str],
    ) -> None:
        self._given = work, source_of, wanted
        self._shares = shares
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        self._waiting: list[deque[Block]] = [deque() for _ in range(shares)]
        self._over: set[int] = set()

    def __enter__(self) -> _Processes:
        work, source_of, wanted = self._given
        # Spawned: a fork would copy the locks of polars' threads as they are at that moment.
        context = multiprocessing.get_context("spawn")
        try:
            for number in range(self._shares):
                mine, theirs = context.Pipe()
                process = context.Process(
                    target=serve, args=(theirs, work, wanted), name=f"share-{number}", daemon=True
                )
                process.start()
                theirs.close()  # or its end would not be seen here
                self._processes.append(process)
                self._pipes.append(mine)
            for number in range(self._shares):
                self._send(number, source_of(number))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _send(self, number: int, source: Source) -> None:
        try:
            self._pipes[number].send(source)
        except OSError:
            raise self._died(number) from None

    def blocks(self) -> Iterator[list[Block]]:
        """The next block of every share, until all are over; raises BacktestError."""
        while True:
            while not all(self._waiting[k] or k in self._over for k in range(self._shares)):
                self._receive()
            sizes = [len(waiting[0]) if waiting else 0 for waiting in self._waiting]
            if not any(sizes):
                return
            if min(sizes) < max(sizes):
                number = sizes.index(min(sizes)) + 1
                raise BacktestError(
                    f"process {number} of {self._shares} saw fewer clock events than the others; "
                    "did a file change meanwhile? Run it again, or with --processes 1"
                )
            yield [waiting.popleft() for waiting in self._waiting]

    def _receive(self) -> None:
        """Take a message of every share that has one and is not far ahead."""
        open_ = {
            pipe: number
            for number, pipe in enumerate(self._pipes)
            if number not in self._over and len(self._waiting[number]) < BLOCKS_AHEAD
        }
        for pipe in wait(list(open_)):
            number = open_[pipe]  # type: ignore[index]
            try:
                told = self._pipes[number].recv()
            except (EOFError, OSError):
                raise self._died(number) from None
            if isinstance(told, Failed):
                raise BacktestError(f"process {number + 1} of {self._shares}: {told.reason}")
            if told is None:
                self._over.add(number)
            else:
                self._waiting[number].append(told)

    def _died(self, number: int) -> BacktestError:
        process = self._processes[number]
        process.join(END_S)
        code = process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        more = "; the machine may be out of memory, try --processes 1" if code == -9 else ""
        return BacktestError(f"process {number + 1} of {self._shares} ended with {how}{more}")

    def _end(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(END_S)
            if process.is_alive():
                process.kill()
                process.join()


def serve(pipe: Connection, work: Work, wanted: frozenset[str]) -> None:
    """Run one share, in its own process: a source comes in, blocks of moments go out, then None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the command ends its processes itself
    telemetry.configure("error", "text")  # what is said of the input was said there
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody is there any more
        try:
            source: Any = pipe.recv()
            market = Market(work.plan(), work.subjects, wanted)
            for block in _blocks(market.moments(source.events(), work.rules)):
                pipe.send(block)
            pipe.send(None)
        except (BrokenPipeError, ConnectionResetError, EOFError):
            return
        except Exception as error:  # noqa: BLE001 -- whatever ends a share is told in the command
            kind = "" if type(error).__module__.startswith("runtime.") else type(error).__name__
            reason = ": ".join(one for one in (kind, str(error)) if one)
            pipe.send(Failed(reason, traceback.format_exc()))


def _blocks(moments: Iterator[Moment]) -> Iterator[Block]:
    block: Block = []
    for moment in moments:
        block.append(moment)
        if len(block) == MOMENTS_A_BLOCK:
            yield block
            block = []
    yield block
