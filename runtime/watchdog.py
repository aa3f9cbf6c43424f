"""End the process when a function does not return: nothing else can take a thread back from it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from runtime import telemetry

log = telemetry.get_logger(__name__)

LOOK_S = 0.25
EXIT_CODE = 70  # the supervisor starts the process again; the frame is then recognised


class Watchdog:
    """A thread that looks at how long the running function has been at it."""

    def __init__(self, limit_s: float, end: Callable[[int], None] = os._exit) -> None:
        self._limit_s = limit_s
        self._end = end
        self._since: float | None = None
        self._what: Callable[[], str] = str
        self._stopped = threading.Event()
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    @contextlib.contextmanager
    def watching(self, what: Callable[[], str]) -> Iterator[None]:
        """The body must end within the limit; `what()` says what was running if it does not."""
        self._what, self._since = what, time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _look(self) -> None:
        looked = time.monotonic()
        while not self._stopped.wait(LOOK_S):
            now, since = time.monotonic(), self._since
            if now - looked > 4 * LOOK_S and since is not None:
                self._since = since + (
                    now - looked
                )  # the whole process stood still, not the function
            elif since is not None and now - since > self._limit_s:
                log.error("function does not return; ending the process", running=self._what())
                faulthandler.dump_traceback(sys.stderr)
                self._end(EXIT_CODE)
                return
            looked = now
