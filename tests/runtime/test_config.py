"""Settings: strict, frozen, and every mistake says what was expected."""

from __future__ import annotations

from pathlib import Path

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
        ("JETSCAN_PROXIES", "10.0.0.1, here", "JETSCAN_PROXIES: 'here' does not appear"),
        ("JETSCAN_PUBLIC_URL", "jetscan.example", "JETSCAN_PUBLIC_URL: expected https://HOST"),
        ("JETSCAN_OIDC_ISSUER", "http://login.example", "JETSCAN_OIDC_ISSUER: expected https://"),
        ("JETSCAN_OIDC_ISSUER", "https://login.example", "JETSCAN_OIDC_CLIENT_ID: expected one"),
        ("JETSCAN_JWT_SECRET_FILE", "/nowhere/key", "JETSCAN_JWT_SECRET_FILE: expected a file"),
        ("JETSCAN_PORT_FILE", "x", "JETSCAN_PORT_FILE: no such setting"),
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


def test_whom_a_provider_may_sign_in_has_to_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSCAN_OIDC_ISSUER", "https://login.example")
    monkeypatch.setenv("JETSCAN_OIDC_CLIENT_ID", "jetscan")
    with pytest.raises(ConfigError, match="JETSCAN_OIDC_ALLOWED: expected"):
        load_settings()
    monkeypatch.setenv("JETSCAN_OIDC_ALLOWED", "*")
    assert load_settings().oidc_allowed == "*"


def test_a_secret_may_stand_in_a_file_but_not_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("k" * 32 + "\n")
    monkeypatch.setenv("JETSCAN_MODE", "production")
    monkeypatch.setenv("JETSCAN_JWT_SECRET_FILE", str(tmp_path / "key"))
    assert load_settings().jwt_secret == "k" * 32
    monkeypatch.setenv("JETSCAN_JWT_SECRET", "j" * 32)
    with pytest.raises(ConfigError, match="either JETSCAN_JWT_SECRET or"):
        load_settings()


def test_settings_do_not_change_and_all_have_a_meaning() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1
    assert all(meaning for _, _, meaning in settings.described())
