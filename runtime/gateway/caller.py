"""Who a connection is: the user and roles of a token, and until when it counts."""

from __future__ import annotations

from dataclasses import dataclass

import jwt

from runtime.config import Settings
from runtime.gateway.auth import user_of

LOCAL_ROLES = frozenset({"trader", "admin"})


@dataclass(frozen=True)
class Caller:
    """A user; `until_s` is when the token ends (seconds since 1970), 0 = never.

    is_shared   the user of the local mode: whoever is on this machine
    """

    user: str
    roles: frozenset[str]
    until_s: float = 0.0
    is_shared: bool = False


async def caller_of(settings: Settings, token: str) -> Caller:
    """The caller that a token names, or in local mode no token; raises Unauthorized."""
    user = user_of(settings, token)
    written = token.removeprefix("Bearer ").strip()
    if not written:
        return Caller(user, LOCAL_ROLES, is_shared=True)
    claims = jwt.decode(written, options={"verify_signature": False})  # user_of has checked it
    told = claims.get("roles")
    roles = frozenset(one for one in told if isinstance(one, str)) if isinstance(told, list) else ()
    return Caller(user, frozenset(roles), float(claims["exp"]))
