"""What a function declares: the subjects it reads and writes, its state, its settings.

Declaring does no work and registers nothing: `runtime.loader` finds the declarations in the modules
of `functions/`, checks them against `subjects.yaml` and plans where they are hosted.

    from runtime import function

    @function(reads="ticks.trades", writes="alerts", state={"high": "f8"})
    def breakout(trades, state): ...

A function with a handler per subject is declared first and filled afterwards:

    bars = function("bars", writes="bars.final", state={"open": "f8"})

    @bars.on("ticks.trades")
    def add(trades, state): ...

    @bars.on("ticks.clock")
    def close(clock, state): ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Handler = Callable[..., Any]
# (columns of all bars, columns of all alerts, settings) -> columns
Report = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]]
Carry = str | Callable[[dict[str, Any], int], dict[str, Any]]

CARRY_WORDS = ("keep", "clean")


class Retry(Exception):
    """The function asks to see this frame again, after `delay_s` seconds, before any later one.

    `said`: what a courier publishes about this try, as what it returns.
    """

    def __init__(self, reason: str, delay_s: float = 1.0, *, said: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.delay_s = delay_s
        self.said = said


class Drop(Exception):
    """The function refuses this frame for good: it goes to the dead letters at once.

    A sink that has done all but a few events names these in `rows`: they alone are set aside.
    `said`: what a courier publishes about this try, as what it returns.
    """

    def __init__(self, reason: str, rows: Sequence[int] | None = None, *, said: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.rows = rows
        self.said = said


class ContractError(ValueError):
    """A declaration that cannot be hosted; the message says what to change."""


@dataclass(frozen=True)
class Binding:
    """One subject read, and the handler called with its frames."""

    subject: str
    handler: Handler

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.handler).parameters)

    @property
    def is_sink(self) -> bool:
        return inspect.iscoroutinefunction(self.handler)


@dataclass(eq=False)
class Declaration:
    """A function as its author wrote it: data only, until the loader hosts it."""

    name: str
    writes: tuple[str, ...]
    state: Mapping[str, Any]
    settings: Mapping[str, Any]
    version: int
    carry: Carry | None
    accepts: Mapping[str, Callable[[str], str]]
    checks: Callable[[Mapping[str, Any]], None] | None = None
    at_once: int = 1
    by_minute: Callable[[Mapping[str, Any]], bool] | None = None
    batch: int = 1
    reports: Mapping[str, Report] = field(default_factory=dict)
    merges: Mapping[str, Callable[[list[str]], str]] = field(default_factory=dict)
    reads_declared: tuple[str, ...] = ()
    bindings: list[Binding] = field(default_factory=list)
    recollections: list[Binding] = field(default_factory=list)

    def __call__(self, handler: Handler) -> Declaration:
        """Make `handler` the one handler of every subject in `reads`."""
        if not self.reads_declared:
            raise ContractError(
                f"function {handler.__name__}: `reads` names no subject; "
                'say @function(reads="ticks.trades", ...)'
            )
        self.name = self.name or handler.__name__
        self.bindings = [Binding(subject, handler) for subject in self.reads_declared]
        return self

    def on(self, subject: str) -> Callable[[Handler], Handler]:
        """Declare the handler of one subject; returns the handler unchanged."""

        def bind(handler: Handler) -> Handler:
            if any(binding.subject == subject for binding in self.bindings):
                raise ContractError(f"function {self.name}: {subject} already has a handler")
            self.bindings.append(Binding(subject, handler))
            return handler

        return bind

    def remembers(self, subject: str) -> Callable[[Handler], Handler]:
        """Declare the handler of what the function itself said on a subject; returns it unchanged.

        It is called only where the function begins without saved state, with what a stream still has
        of it, in order, before any input; what it answers is not said.
        """
        if subject not in self.writes:
            raise ContractError(
                f"function {self.name}: it can remember only what it writes, found {subject}"
            )

        def bind(handler: Handler) -> Handler:
            self.recollections.append(Binding(subject, handler))
            return handler

        return bind

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(binding.subject for binding in self.bindings)

    @property
    def is_sink(self) -> bool:
        return bool(self.bindings) and all(binding.is_sink for binding in self.bindings)


def function(
    name: str = "",
    *,
    reads: str | Sequence[str] = (),
    writes: str | Sequence[str] = (),
    state: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    version: int = 1,
    carry: Carry | None = None,
    accepts: Mapping[str, Callable[[str], str]] | None = None,
    checks: Callable[[Mapping[str, Any]], None] | None = None,
    at_once: int = 1,
    by_minute: Callable[[Mapping[str, Any]], bool] | None = None,
    batch: int = 1,
    reports: Mapping[str, Report] | None = None,
    merges: Mapping[str, Callable[[list[str]], str]] | None = None,
) -> Declaration:
    """Declare a function.

    name      defaults to the name of the decorated handler
    reads     base subjects (`ticks.trades`), for the decorator form with one handler
    writes    base subjects the handlers may return events for
    state     column name -> dtype ("f8"), (dtype, width) for a ring per symbol, or "text" for one
              string per partition; a name ending in ".*" declares a family of columns made on use
    settings  name -> default; operators override them, their values are part of the version
    version   of the state's schema: raise it when a column changes its meaning
    carry     what becomes of a state saved under another declaration: "keep" the columns of the
              same name, start "clean", or a callable (columns, old version) -> columns
    accepts   base subject -> check of a text written by hand (body -> body, or ValueError); and
              questions answered without NATS, such as ask.rules -> answer (text -> JSON)
    checks    called with all settings at load; a ValueError refuses the function
    at_once   of a sink: frames that one replica works on side by side, which makes it a courier
    by_minute called with all settings: whether clock events within a minute change nothing that is
              answered later, while trades come in order of time and nothing else comes. Where every
              function says so `jetscan metrics` feeds one clock event a minute
    batch     of a sink: at most so many messages at once, their events as one frame
    reports   name -> what a backtest writes beside its bars and alerts, made from both when it ends
    merges    text of the state -> the text of a partition that has symbols of several, from theirs, when
              the number of partitions changes; without one the texts have to be the same
    """
    if isinstance(carry, str) and carry not in CARRY_WORDS:
        raise ContractError(f"function {name}: carry={carry!r}; expected one of {CARRY_WORDS}")
    return Declaration(
        name=name,
        writes=_names(writes),
        state=dict(state or {}),
        settings=dict(settings or {}),
        version=version,
        carry=carry,
        accepts=dict(accepts or {}),
        checks=checks,
        at_once=at_once,
        by_minute=by_minute,
        batch=batch,
        reports=dict(reports or {}),
        merges=dict(merges or {}),
        reads_declared=_names(reads),
    )


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
