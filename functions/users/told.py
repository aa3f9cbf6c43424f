"""Who was told of an alert one by one: an amendment or a withdrawal goes to them and to nobody else.

A line for each alert, the hash of its id and the users. The newest KEPT_MAX letters are kept, about
40,000 alerts told to one user each; what comes of an older alert nobody is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from functions.users.cooldowns import hash_of

KEPT_MAX = 1_000_000


def users_of(text: str, alert_id: str) -> list[str]:
    """The users who were told of an alert."""
    start = text.rfind(f"\n{_key(alert_id)} ")
    if start < 0:
        return []
    return text[start + 1 :].partition("\n")[0].split(" ")[1:]


def with_told(text: str, told: Mapping[str, list[str]]) -> str:
    """The text with alerts that are told now: alert id -> users."""
    text += "".join(f"\n{_key(alert_id)} {' '.join(users)}" for alert_id, users in told.items())
    return text if len(text) <= KEPT_MAX else text[text.index("\n", len(text) - KEPT_MAX) :]


def _key(alert_id: str) -> str:
    return f"{hash_of(alert_id):016x}"
