"""What URLs of vendors have in common, and their keys: from the environment or from files it names, never from addresses."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.providers import ProviderError
from runtime.providers.conditions import ODD_LOTS


def secret(name: str) -> str:
    """The value of an environment variable, or of the file that NAME_FILE names; raises ProviderError."""
    value = os.environ.get(name, "")
    path = os.environ.get(f"{name}_FILE", "")
    if not value and path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ProviderError(f"{name}_FILE: {path} cannot be read: {error.strerror}") from error
    if not value:
        raise ProviderError(f"expected a key in {name}, or in the file that {name}_FILE names")
    return value


def symbols_of(text: str) -> list[str]:
    """Symbols of a URL, separated by commas; raises ValueError."""
    found = [one.strip() for one in text.split(",") if one.strip()]
    if not found:
        raise ValueError("expected symbols separated by commas, or *")
    return list(dict.fromkeys(found))


def odd_lots_of(text: str) -> str:
    """What odd lots may update; raises ValueError."""
    if text not in ODD_LOTS:
        raise ValueError(f"expected one of {', '.join(ODD_LOTS)}")
    return text


def host_of(text: str) -> str:
    """The address of a websocket server; raises ValueError."""
    if not text.startswith(("ws://", "wss://")):
        raise ValueError("expected ws:// or wss://")
    return text.rstrip("/")
