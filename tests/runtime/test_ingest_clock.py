"""Event time reaches ALERTS as well, seldom and once, so that digests are said when no alert comes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.frames import decode
from runtime.ingest import Ingest
from runtime.providers import SECOND_NS, Batch, clock_batch
from runtime.subjects import Subjects
from tests.conftest import Nats

T0_S = 1_767_623_400


class Clocks:
    """A feed of 32 seconds without a trade."""

    name, speed, warm_ns = "clocks", 0.0, 0

    def batches(self, after_ns: int = 0) -> Iterator[Batch]:
        for second in range(33):
            yield clock_batch(np.array([(T0_S + second) * SECOND_NS]))


async def told(nats: Nats, subjects: Subjects) -> list[int]:
    record = subjects.record_of("alerts.clock")
    messages = await nats.bus.history("ALERTS", "alerts.clock", 100)
    return [int(decode(one.data, record)["ts_ns"][0]) // SECOND_NS - T0_S for one in messages]


async def test_alerts_hear_event_time_seldom_and_once_and_the_end_of_it(
    nats: Nats, subjects: Subjects
) -> None:
    for _ in range(2):  # a feed that starts again tells the same
        await Ingest(nats.bus, subjects, Clocks()).run()
    seconds = await told(nats, subjects)
    assert len(set(seconds)) == len(seconds) <= 7
    assert 30 <= max(seconds) <= 32
