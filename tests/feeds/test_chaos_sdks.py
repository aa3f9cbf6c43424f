"""The vendors' own SDKs on the scripts that feeds are tested with, for comparison, where they are installed.

They do not agree on the version of websockets and are not among our dependencies: see bench/chaos.py for
the environments they are run in.
"""

from __future__ import annotations

import pytest

from bench.chaos import run
from bench.chaos_sdks import installed
from runtime.config import Settings
from runtime.subjects import load_subjects
from runtime.testing.harness import SUBJECTS_FILE

SDKS = installed()
# SDKs leave sockets and tasks behind.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not SDKS, reason="no SDK of a vendor is installed beside Jetscan"),
]


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize("fault", ["drop", "reset", "close:1001"])
def test_a_feed_loses_nothing_where_an_sdk_may(name: str, fault: str) -> None:
    ours = SDKS[name].vendor
    subjects = load_subjects(SUBJECTS_FILE)
    _, found = run(Settings(), subjects, True, (fault,), 10.0, (ours, name))
    assert found[f"{ours} {fault} lost"] == 0
    assert found[f"{ours} {fault} twice"] == 0
    assert found[f"{name} {fault} prints"] > 0
