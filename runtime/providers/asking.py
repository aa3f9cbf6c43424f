"""What one connection is asked to follow, one request at a time, and what each answer means.

    acknowledged              the next request
    a symbol is wrong         the request is halved, until it is that symbol alone, which is refused
    the limit is reached      the same; then nobody asks for more than was had, also after a reconnection
    refused for other reasons its symbols are refused
    no answer in ANSWER_S     the next request; what stays unanswered is told

No input or output here: who reads the connection asks what to send, and hands over what it heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from runtime.providers.messages import Control
from runtime.providers.trouble import HALVE, LIMIT, request_fault
from runtime.providers.universe import ALL, Universe

ANSWER_S = 10.0
SILENT = "the vendor has not acknowledged it"


@dataclass(frozen=True)
class Request:
    """Symbols, in our spelling, to be sent from now on or no more."""

    is_adding: bool
    symbols: list[str]


class Subscriber(Protocol):
    """How a vendor is asked."""

    name: str
    symbols_a_request: int
    spacing_s: float  # between two requests
    answers: bool  # each request, with all that is subscribed or with a refusal

    def request(self, is_adding: bool, spelled: list[str]) -> bytes | str:
        """The message about symbols as the vendor writes them."""
        ...

    def acknowledged(self, control: Control) -> Iterable[str] | None:
        """The symbols that a control `subscribed` says are sent, in any spelling; None: those asked for."""
        ...


class Asking:
    """The requests of one connection. Times are seconds of any clock that does not go back."""

    def __init__(
        self, vendor: Subscriber, universe: Universe, now_s: float, sent: Iterable[str] = ()
    ) -> None:
        self._vendor, self.universe = vendor, universe
        self._sent = set(sent)  # asked for on this connection
        self._parts: deque[Request] = deque()
        self._asked: Request | None = None
        self._asked_s = now_s - vendor.spacing_s
        self._revision = -1
        self._reason = SILENT
        self._is_settled = False
        universe.begin()

    def next(self, now_s: float) -> bytes | str | None:
        """What to send now, if anything."""
        if self._revision != self.universe.revision:
            self._plan()
        waited_s = now_s - self._asked_s
        if self._asked is not None and waited_s < ANSWER_S:
            return None
        self._asked = None
        if not self._parts:
            self._settle(waited_s)
            return None
        if waited_s < self._vendor.spacing_s:
            return None
        request = self._parts.popleft()
        self._asked, self._asked_s = request if self._vendor.answers else None, now_s
        self._is_settled = False
        spelled = [self.universe.vendors(one) for one in request.symbols]
        return self._vendor.request(request.is_adding, spelled)

    def hear(self, control: Control) -> bool:
        """Whether a control answers a request, or tells what is subscribed."""
        if control.kind == "subscribed":
            told = self._vendor.acknowledged(control)
            if told is None:
                asked = self._asked
                told = asked.symbols if asked is not None and asked.is_adding else ()
            self.universe.acknowledge(map(self.universe.spelled, told))
            self._asked = None
            return True
        fault = request_fault(self._vendor.name, control.code) if control.kind == "error" else ""
        request = self._asked
        if not fault or request is None:
            return False
        self._asked = None
        if request.is_adding:
            self._reason = f"{control.text} ({control.code})" if control.text else control.code
            self._refused(request, fault)
        return request.is_adding

    # -- what is asked

    def _plan(self) -> None:
        """Ask for what is wanted and was not asked for, as far as there is room, and for the rest no more."""
        self._revision, self._reason = self.universe.revision, SILENT
        self._take_back()
        target = self.universe.target()
        removed = sorted(self._sent - set(target)) if self.universe.removes else []
        self._sent.difference_update(removed)
        self.universe.end(removed)
        added = self._with_room([one for one in target if one not in self._sent])
        self._sent.update(added)
        requests = [*self._cut(False, removed), *self._cut(True, added)]
        if ALL in added:  # nothing is missed between the two
            requests.reverse()
        self._parts.extend(requests)

    def _take_back(self) -> list[str]:
        """What waits to be asked for is not asked for."""
        waiting = [one for part in self._parts if part.is_adding for one in part.symbols]
        self._parts = deque(part for part in self._parts if not part.is_adding)
        self._sent.difference_update(waiting)
        return waiting

    def _with_room(self, symbols: list[str]) -> list[str]:
        """Those to ask for; the others are over the limit. What was refused for itself is not asked for again."""
        refused, most = self.universe.refused(), self.universe.most
        limited = self.universe.limited_by
        new = [one for one in symbols if refused.get(one, limited) == limited]
        room = len(new) if most is None else max(0, most - len(self._sent))
        self.universe.forgive(new[:room])
        self.universe.refuse(new[room:], limited)
        return new[:room]

    def _cut(self, is_adding: bool, symbols: list[str]) -> list[Request]:
        size = self._vendor.symbols_a_request
        starts = range(0, len(symbols), size)
        return [Request(is_adding, symbols[start : start + size]) for start in starts]

    # -- what is refused

    def _refused(self, request: Request, fault: str) -> None:
        symbols = request.symbols
        if fault in (HALVE, LIMIT) and len(symbols) > 1:
            half = (len(symbols) + 1) // 2
            self._parts.extendleft(Request(True, one) for one in (symbols[half:], symbols[:half]))
            return
        self._sent.difference_update(symbols)
        if fault != LIMIT:
            self.universe.refuse(symbols, self._reason)
            return
        waiting = self._take_back()
        if self._sent:  # of so many it is known that they may be
            self.universe.limit(len(self._sent), self._reason)
        self.universe.refuse([*symbols, *waiting], self._reason)

    def _settle(self, waited_s: float) -> None:
        if not self._is_settled and waited_s > ANSWER_S:
            self._is_settled = True
            self.universe.tell_unanswered(self._reason)


def in_every(channels: Iterable[Collection[str]]) -> set[str]:
    """What is in every channel that has anything: one that a plan lacks is told elsewhere."""
    found = [set(one) for one in channels if one]
    return set.intersection(*found) if found else set()
