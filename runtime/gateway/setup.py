"""The first admin: whoever can read a file of this machine may make one, once."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from runtime import telemetry
from runtime.config import Settings
from runtime.gateway.directory import Directory

log = telemetry.get_logger(__name__)

FILE = "setup.code"


class Setup:
    """The one-time code; there is none where an admin is, and none in local mode."""

    def __init__(self, settings: Settings, directory: Directory) -> None:
        self._path = Path(settings.data_dir) / FILE
        self._is_local = settings.mode == "local"
        self._directory = directory

    @property
    def is_open(self) -> bool:
        """Whether the first admin is to be made."""
        return not self._is_local and self._directory.is_read and not self._directory.has_admin

    async def look(self) -> None:
        """Write the code where there is no admin, remove it where there is one."""
        if self._is_local:
            return
        if not self.is_open:
            self._path.unlink(missing_ok=True)
        elif not self._code():
            self._write()
            log.warning(
                "there is no admin yet: the code to make one is in a file", path=str(self._path)
            )

    def is_right(self, code: str) -> bool:
        """Whether this is the code."""
        kept = self._code()
        return bool(kept) and hmac.compare_digest(kept.encode(), code.strip().encode())

    def _code(self) -> str:
        try:
            return self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)  # an empty file, or a link that somebody laid
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as writer:
            writer.write(secrets.token_urlsafe(16) + "\n")
