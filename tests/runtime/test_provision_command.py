"""`jetscan provision --check`: what says whether the streams of a deployment are as they are written."""

from __future__ import annotations

import asyncio
import json

from click.testing import CliRunner, Result

from runtime.cli import main
from tests.conftest import Nats


async def ran(nats: Nats, *words: str) -> Result:
    environment = {"JETSCAN_NATS_URL": nats.url}
    return await asyncio.to_thread(CliRunner().invoke, main, ["provision", *words], env=environment)


async def test_a_stream_that_is_missing_fails_the_check_and_is_not_made_by_it(nats: Nats) -> None:
    assert (await ran(nats, "--check")).exit_code == 0
    await nats.bus.api("STREAM.DELETE.DEAD")
    assert (await ran(nats, "--dry-run")).exit_code == 0  # it shows what would be done
    for _ in range(2):
        checked = await ran(nats, "--check")
        assert checked.exit_code == 1
        assert checked.output.splitlines()[:2] == [
            "+ DEAD",
            "1 differences, 0 refused; shown only",
        ]
    told = json.loads((await ran(nats, "--check", "--json")).output)
    assert (told["applied"], told["changes"]) == (False, [{"change": "+ DEAD", "refused": ""}])
    assert (await ran(nats)).exit_code == 0
    assert (await ran(nats, "--check")).exit_code == 0
