"""What the doctor finds, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.bus import Bus
from runtime.loader import Plan
from runtime.subjects import Subjects

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `to_do` is empty where nothing is."""

    check: str
    state: str
    text: str
    to_do: str = ""


def warn(check: str, text: str, to_do: str) -> Finding:
    """Something that will be felt."""
    return Finding(check, WARN, text, to_do)


def fail(check: str, text: str, to_do: str) -> Finding:
    """Something that is felt."""
    return Finding(check, FAIL, text, to_do)


def graded(check: str, value: float, limits: tuple[float, float], text: str, to_do: str) -> Finding:
    """ok up to the first limit, warn up to the second, then fail."""
    if value <= limits[0]:
        return Finding(check, OK, text)
    return Finding(check, WARN if value <= limits[1] else FAIL, text, to_do)


@dataclass(frozen=True)
class Addresses:
    """Where the parts of a deployment are; empty: there is none, or it is not known."""

    nats: str = ""
    database: str = ""
    redis: str = ""
    gateway: str = ""
    data_dir: str = "."
    migrations_dir: str = "migrations"


@dataclass
class Patient:
    """A deployment that is looked at."""

    addresses: Addresses
    subjects: Subjects
    plan: Plan
    _bus: list[Bus] = field(default_factory=list)

    def connected(self, bus: Bus) -> None:
        """NATS can be asked from now on."""
        self._bus = [bus]

    @property
    def has_bus(self) -> bool:
        return bool(self._bus)

    @property
    def bus(self) -> Bus:
        """The connection to NATS; only where there is one."""
        return self._bus[0]
