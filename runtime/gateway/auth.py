"""Who is calling: bearer tokens, and origins that browsers may call from."""

from __future__ import annotations

from urllib.parse import urlsplit

import jwt

from runtime.config import Settings
from runtime.gateway.access import ROLES, TRADER, Caller

ALGORITHMS = ["HS256", "HS384", "HS512"]
LOCAL_USER = "default"
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Unauthorized(Exception):
    """No valid token; the text says what was expected."""


def user_of(settings: Settings, authorization: str) -> str:
    """The caller's id; raises Unauthorized."""
    return caller_of(settings, authorization).user


def caller_of(settings: Settings, authorization: str) -> Caller:
    """The caller; without a token that is `default` in local mode and nobody elsewhere."""
    token = authorization.removeprefix("Bearer ").strip()
    if not token:
        if settings.mode == "local":
            return Caller(LOCAL_USER, ROLES, is_anonymous=True)
        raise Unauthorized("expected Authorization: Bearer TOKEN")
    if not settings.jwt_secret:
        raise Unauthorized(
            "a token was given, but this instance has no JETSCAN_JWT_SECRET to check it"
        )
    try:
        claims = jwt.decode(
            token, settings.jwt_secret, algorithms=ALGORITHMS, options={"require": ["exp"]}
        )
    except jwt.InvalidTokenError as error:
        raise Unauthorized(f"the token is not valid: {error}") from error
    user = claims.get("user_id") or claims.get("sub")
    if not isinstance(user, str) or not user:
        raise Unauthorized("the token names no user: expected the claim user_id or sub")
    told = claims.get("roles")
    roles = ROLES.intersection(told) if isinstance(told, list) else frozenset({TRADER})
    return Caller(user, roles)


def origin_allowed(settings: Settings, origin: str, host: str) -> bool:
    """Whether a page of `origin` may call: our own, a listed one, or in local mode a local one."""
    if not origin:
        return True
    parts = urlsplit(origin)
    listed = {one.strip() for one in settings.origins.split(",") if one.strip()}
    if parts.netloc == host or origin in listed:
        return True
    return settings.mode == "local" and parts.hostname in LOCAL_HOSTS
