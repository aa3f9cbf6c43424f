"""Tokens: signed ones that say who calls, and random ones of which only a hash is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Iterable
from typing import Any

import jwt

from runtime.gateway.auth import Unauthorized

ALGORITHMS = ["HS256", "HS384", "HS512"]  # no others: not `none`, not a public key as a secret
ISSUER = "jetscan"
LEEWAY_S = 10.0  # clocks of two machines
KEY_PREFIX = "jsk_"


class Tokens:
    """Signs and checks with JETSCAN_JWT_SECRET; without one, with a key that ends with the process."""

    def __init__(self, secret: str, life_s: int) -> None:
        self._is_given = bool(secret)
        self._secret = secret or secrets.token_urlsafe(32)
        self.life_s = life_s

    def issue(self, user: str, roles: Iterable[str], session: str) -> str:
        """An access token."""
        now = time.time()
        claims = {
            "iss": ISSUER,
            "sub": user,
            "user_id": user,
            "roles": sorted(roles),
            "iat": now,
            "exp": int(now + self.life_s),
            "jti": uuid.uuid4().hex,
            "sid": session,
        }
        return jwt.encode(claims, self._secret, ALGORITHMS[0])

    def claims(self, token: str) -> dict[str, Any]:
        """What a valid token says; raises Unauthorized."""
        try:
            return jwt.decode(
                token,
                self._secret,
                algorithms=ALGORITHMS,
                leeway=LEEWAY_S,
                options={"require": ["exp"]},
            )
        except (jwt.InvalidTokenError, jwt.InvalidKeyError) as error:
            hint = "" if self._is_given else "; this instance has no JETSCAN_JWT_SECRET"
            raise Unauthorized(f"the token is not valid: {error}{hint}") from error

    def seal(self, purpose: str, claims: dict[str, Any], life_s: int) -> str:
        """Claims for ourselves; no token of another purpose can stand for them."""
        return jwt.encode({**claims, "exp": int(time.time() + life_s)}, self._key_of(purpose))

    def unseal(self, purpose: str, text: str) -> dict[str, Any] | None:
        """What was sealed; None: it was not by us, or not for this, or is too old."""
        options = {"require": ["exp"]}
        try:
            return jwt.decode(text, self._key_of(purpose), [ALGORITHMS[0]], options=options)  # type: ignore[arg-type]
        except jwt.InvalidTokenError:
            return None

    def _key_of(self, purpose: str) -> str:
        return hmac.new(self._secret.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def random_token(prefix: str = "") -> str:
    """256 random bits."""
    return prefix + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is kept of a random token; it needs no salt, for nobody guesses one."""
    return hashlib.sha256(token.encode()).digest()
