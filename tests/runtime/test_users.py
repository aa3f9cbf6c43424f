"""Profiles and channels from the command line: checked, versioned, kept under safe names."""

from __future__ import annotations

import pytest

from functions.users.profiles import check_profile
from runtime.bus import BusError
from runtime.frames import decode
from runtime.subjects import Subjects
from runtime.users import keep_channel, tell_profile
from tests.conftest import Nats

ACCEPTS = {"alerts.control": check_profile}


async def test_a_profile_is_published_with_a_version_that_grows(
    nats: Nats, subjects: Subjects
) -> None:
    for body in ('{"subscriptions": [{}]}', ""):
        await tell_profile(nats.bus, subjects, ACCEPTS, "ann", body)
    record = subjects.record_of("alerts.control")
    frames = [
        decode(one.data, record) for one in await nats.bus.history("ALERTS", "alerts.control", 9)
    ]
    assert [frame["body"][0] for frame in frames] == ['{"subscriptions": [{}]}', ""]
    assert frames[0]["version"][0] < frames[1]["version"][0]


@pytest.mark.parametrize(
    ("user", "body", "says"),
    [("ann", '{"subscriptions": 1}', "user ann: subscriptions"), ("a.b", "{}", "expected a name"), ("", "{}", "expected a name")],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused_before_it_is_published(
    nats: Nats, subjects: Subjects, user: str, body: str, says: str
) -> None:
    with pytest.raises(BusError, match=says):
        await tell_profile(nats.bus, subjects, ACCEPTS, user, body)
    assert await nats.bus.last("ALERTS", "alerts.control") is None


async def test_a_channel_is_kept_and_removed_under_its_users_name(nats: Nats) -> None:
    await keep_channel(nats.bus, "ann", "phone", b"{}")
    entry = await nats.bus.kv("channels").get("ann.phone")
    assert entry is not None
    assert entry.value == b"{}"
    await keep_channel(nats.bus, "ann", "phone", b"")
    assert await nats.bus.kv("channels").get("ann.phone") is None
    with pytest.raises(BusError, match="expected a name"):
        await keep_channel(nats.bus, "ann", "pho.ne", b"{}")
    with pytest.raises(BusError, match="at most 4096 bytes"):
        await keep_channel(nats.bus, "ann", "phone", b" " * 5000)
