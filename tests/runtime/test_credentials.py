"""A user and a password beside an address: taken apart, put together, never shown."""

from __future__ import annotations

import pytest

from runtime.credentials import Address, address_of, shown, signed

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
    ],
)
def test_what_is_shown_has_no_secret(url: str, seen: str) -> None:
    assert shown(url) == seen


def test_answers_go_where_no_other_user_hears_them() -> None:
    assert address_of("nats://market:p@a:1").inbox == "_INBOX.market"
    assert address_of("nats://a.>:p@a:1").inbox == "_INBOX"
    assert address_of("nats://a:1").inbox == "_INBOX"
