"""A sink without a server: its frames delivered, and delivered again, as after a crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.contract import Declaration
from runtime.frames import Frame
from runtime.loader import hosted_of
from runtime.subjects import Subjects, load_subjects
from runtime.testing.harness import SUBJECTS_FILE, frame_of


class SinkHarness:
    """A sink, with what it asks for handed in by the test.

        sink = SinkHarness(webhook, http=client, settings={"url": "http://example.test/"})
        await sink.deliver("alerts.filtered", symbol=["A"], ...)
        await sink.redeliver()     # its worker died after the effect, before it acknowledged

    `Retry`, `Drop` and whatever else it raises come out of `deliver`.
    """

    def __init__(
        self,
        sink: Declaration,
        *,
        settings: Mapping[str, Any] | None = None,
        subjects: Subjects | None = None,
        **given: Any,
    ) -> None:
        if not sink.is_sink:
            raise AssertionError(f"{sink.name} is no sink: test it with Harness({sink.name})")
        self.subjects = subjects or load_subjects(SUBJECTS_FILE)
        self.hosted = hosted_of(sink, settings)
        self.given = {"settings": self.hosted.settings, **given}
        self._last: tuple[str, Frame] | None = None

    async def deliver(self, base: str, table: str | Frame = "", **columns: Sequence[Any]) -> Any:
        """Hand over one frame; what the sink returns."""
        return await self._handed(base, frame_of(self.subjects.record_of(base), table, columns))

    async def redeliver(self) -> Any:
        """Hand over the last frame once more."""
        if self._last is None:
            raise AssertionError("nothing was delivered yet")
        return await self._handed(*self._last)

    async def _handed(self, base: str, frame: Frame) -> Any:
        binding = self.hosted.binding(base)
        if binding is None:
            raise AssertionError(
                f"{self.hosted.name} reads {', '.join(self.hosted.reads)}, not {base}"
            )
        self._last = base, frame
        offered = {**self.given, self.subjects.subjects[base].argument: frame}
        missing = [name for name in binding.arguments if name not in offered]
        if missing:
            raise AssertionError(f"{self.hosted.name} asks for {missing}: hand them to SinkHarness")
        return await binding.handler(**{name: offered[name] for name in binding.arguments})
