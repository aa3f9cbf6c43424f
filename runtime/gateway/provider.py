"""An OpenID provider: what it says of itself, codes for tokens, and whether a token is its own.

OpenID Connect Core 1.0 (authorization code), RFC 7636 (PKCE), RFC 9207 (issuer in the answer).
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import jwt

from runtime.config import Settings

ANSWER_S = 5.0
ANSWER_BYTES_MAX = 1 << 20
KNOWN_S = 3600.0  # what a provider says of itself, and its keys
AGAIN_S = 30.0  # keys are asked for again this often at most, for tokens of a key nobody knows
LEEWAY_S = 60
# Only signatures of a key pair: with an HMAC whoever knows the public key could sign.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]


class ProviderError(RuntimeError):
    """The provider cannot be asked, or says what it must not."""


class Provider:
    """The provider of the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._about: dict[str, Any] = {}
        self._about_until = 0.0
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_at = float("-inf")

    async def sign_in_url(self, back: str, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes to sign in; raises ProviderError."""
        about = await self._known()
        hashed = hashlib.sha256(verifier.encode()).digest()
        values = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": back,
            "scope": "openid profile email",
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(hashed).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        place = about["authorization_endpoint"]
        return f"{place}{'&' if '?' in place else '?'}{urlencode(values)}"

    async def claims(self, code: str, back: str, nonce: str, verifier: str) -> dict[str, Any]:
        """What the provider says of who signed in, checked; raises ProviderError."""
        about = await self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": verifier,
        }
        told = await self._asked("POST", about["token_endpoint"], **self._proved(about, form))
        token = told.get("id_token")
        if not isinstance(token, str):
            raise ProviderError("the provider's answer has no id_token")
        claims = await self._checked(token)
        if claims.get("nonce") != nonce:
            raise ProviderError("the provider's token is of another sign-in: its nonce differs")
        return claims

    def _proved(self, about: dict[str, Any], form: dict[str, str]) -> dict[str, Any]:
        """The form and headers that say who we are."""
        name, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        ways = about.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if not secret:
            return {"data": {**form, "client_id": name}}
        if "client_secret_basic" in ways:
            pair = f"{quote(name, safe='')}:{quote(secret, safe='')}"  # RFC 6749, 2.3.1
            basic = base64.b64encode(pair.encode()).decode()
            return {"data": form, "headers": {"Authorization": f"Basic {basic}"}}
        return {"data": {**form, "client_id": name, "client_secret": secret}}

    async def _checked(self, token: str) -> dict[str, Any]:
        try:
            head = jwt.get_unverified_header(token)
            key = await self._key(str(head.get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._settings.oidc_client_id,
                issuer=self._settings.oidc_issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "sub", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise ProviderError(f"the provider's token is not valid: {error}") from error
        party = claims.get("azp", self._settings.oidc_client_id)
        if party != self._settings.oidc_client_id:
            raise ProviderError("the provider's token was issued to another client")
        return claims

    async def _key(self, name: str) -> jwt.PyJWK:
        """A key of the provider; one that is not known may be new."""
        age_s = time.monotonic() - self._keys_at
        if age_s > KNOWN_S or (name not in self._keys and age_s > AGAIN_S):
            about = await self._known()
            told = await self._asked("GET", about["jwks_uri"])
            self._keys_at = time.monotonic()
            usable = jwt.PyJWKSet.from_dict(told).keys
            self._keys = {one.key_id or "": one for one in usable}
        if not name and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if name not in self._keys:
            raise ProviderError("the provider's token is signed by a key that it does not publish")
        return self._keys[name]

    async def _known(self) -> dict[str, Any]:
        if time.monotonic() < self._about_until:
            return self._about
        issuer = self._settings.oidc_issuer
        about = await self._asked("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if about.get("issuer") != issuer:
            raise ProviderError(
                f"the provider calls itself {about.get('issuer')}, expected {issuer}"
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(about.get(name), str):
                raise ProviderError(f"the provider does not say its {name}")
        self._about, self._about_until = about, time.monotonic() + KNOWN_S
        return about

    async def _asked(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """An answer in JSON; redirects are not followed."""
        try:
            async with (
                httpx.AsyncClient(timeout=ANSWER_S) as client,
                client.stream(method, url, **options) as answer,
            ):
                body = b""
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > ANSWER_BYTES_MAX:
                        raise ProviderError("the provider's answer is too long")
            if answer.status_code != 200:
                raise ProviderError(f"the provider answered {answer.status_code}")
            told = json.loads(body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ProviderError(f"the provider cannot be asked: {error}") from error
        if not isinstance(told, dict):
            raise ProviderError("the provider's answer is no object")
        return told
