"""A user and a password beside an address: taken apart, put together, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.cli import main
from runtime.credentials import Address, AddressError, address_of, shown, signed

ODD = "p@ss:w/rd,%"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("nats://a:4222", Address(["nats://a:4222"])),
        ("nats://u:p@a:1,nats://b:2", Address(["nats://a:1", "nats://b:2"], "u", "p")),
        ("nats://u:p@a:1,nats://u:p@b:2", Address(["nats://a:1", "nats://b:2"], "u", "p")),
        ("nats://token@a:1", Address(["nats://token@a:1"])),
        (signed("tls://a:1", "u", ODD), Address(["tls://a:1"], "u", ODD)),
        (signed("nats://x:y@a:1", "u", "p"), Address(["nats://a:1"], "x", "y")),
    ],
)
def test_an_address_is_taken_apart(url: str, address: Address) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("nats://a:4222", "nats://a:4222"),
        ("nats://u:secret@a:1,nats://u:secret@b:2", "nats://u:***@a:1,nats://u:***@b:2"),
        ("nats://secret@a:1", "nats://***@a:1"),
        ("nats://u:se/cr/et@a:1", "nats://u:***@a:1"),
        ("nats://u:s@cr@t@a:1,nats://u:se/cret@b:2", "nats://u:***@a:1,nats://u:***@b:2"),
        ("nats://u:se,cret@a:1", "nats://u:***@a:1"),
        ("nats://u:secret@a:1,b:2,tls://c:3", "nats://u:***@a:1,b:2,tls://c:3"),
        ("postgresql://u:se/cr:et@a:1/name", "postgresql://u:***@a:1/name"),
        ("", ""),
    ],
)
def test_what_is_shown_has_no_secret(url: str, seen: str) -> None:
    assert shown(url) == seen


def test_credentials_are_put_to_an_address_or_refused_never_dropped() -> None:
    with pytest.raises(AddressError, match=r"expected nats://HOST:PORT for u to .*, found a:4222"):
        signed("a:4222", "u", "p")
    assert signed("a:4222", "", "") == "a:4222"
    assert signed("", "u", "p") == ""  # the server of `jetscan dev` asks nobody


@pytest.mark.parametrize("command", ["lag", "dev --feed sim://?symbols=1"])
def test_a_command_ends_where_it_could_only_sign_in_as_nobody(command: str, tmp_path: Path) -> None:
    settings = {"NATS_URL": "a:4222", "NATS_USER": "u", "NATS_PASSWORD": "p", "DATA_DIR": tmp_path}
    told = {f"JETSCAN_{name}": str(value) for name, value in settings.items()}
    done = CliRunner().invoke(main, command.split(), env=told)
    assert done.exit_code in (1, 2)
    assert "nats_url: expected nats://HOST:PORT" in done.output
    assert isinstance(done.exception, SystemExit)


def test_answers_go_where_no_other_user_hears_them() -> None:
    assert address_of("nats://market:p@a:1").inbox == "_INBOX.market"
    assert address_of("nats://a.>:p@a:1").inbox == "_INBOX"
    assert address_of("nats://a:1").inbox == "_INBOX"
