"""Who calls, and what their roles let them do."""

from __future__ import annotations

from dataclasses import dataclass

from quart import abort, g

TRADER, ADMIN = "trader", "admin"
ROLES = frozenset({TRADER, ADMIN})


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request.

    session     the sign-in that its token came from; empty: an API key, a token from outside, or none
    key         the id of the API key that was sent; empty: none
    issued_s    when the token was issued, 0: it does not say; seconds since 1970
    expires_s   when the token or key ends
    """

    user: str
    roles: frozenset[str]
    session: str = ""
    key: str = ""
    issued_s: float = 0.0
    expires_s: float = float("inf")
    is_anonymous: bool = False


NOBODY = Caller("", frozenset(), is_anonymous=True)


def need_admin() -> None:
    """Go on only for admins; 403."""
    if ADMIN not in g.get("roles", ()):
        abort(403, "expected the role admin; ask an admin for it")


def need_person() -> None:
    """Go on only for somebody who signed in: a key that leaks must not make others; 403."""
    if g.caller.key:
        abort(403, "an API key cannot do this; sign in")


def is_admin() -> bool:
    """Whether the caller may see and change what is not theirs."""
    return ADMIN in g.get("roles", ())
