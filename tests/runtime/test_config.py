"""Settings: strict, frozen, and every mistake says what was expected."""

from __future__ import annotations

import pytest

from runtime.config import ConfigError, Settings, load_settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("JETSCAN_NATS_ULR", "x", "did you mean JETSCAN_NATS_URL?"),
        ("JETSCAN_PORT", "abc", "JETSCAN_PORT: Input should be a valid integer"),
        ("JETSCAN_PORT", "70000", "less than or equal to 65535"),
        ("JETSCAN_MODE", "prod", "'local' or 'production'"),
        ("JETSCAN_MODE", "production", "JETSCAN_JWT_SECRET: expected 32 bytes or more"),
        ("JETSCAN_FUNCTIONS", "{", "JETSCAN_FUNCTIONS"),
        ("JETSCAN_WORKERS_MIN", "9", "JETSCAN_WORKERS_MAX: expected at least workers_min"),
        ("JETSCAN_SMTP_URL", "mail:25", "JETSCAN_SMTP_URL: expected smtp://HOST:PORT"),
    ],
)
def test_a_mistake_in_the_environment_says_what_was_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert says.lower() in str(caught.value).lower()


def test_a_secret_is_not_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSCAN_MODE", "production")
    monkeypatch.setenv("JETSCAN_JWT_SECRET", "hunter2")
    monkeypatch.setenv("JETSCAN_SMTP_URL", "mail://me:hunter3@host")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "hunter" not in str(caught.value)
    monkeypatch.setenv("JETSCAN_MODE", "local")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "hunter" not in str(caught.value)


def test_settings_do_not_change_and_all_have_a_meaning() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    assert all(meaning for _, _, meaning in settings.described())
