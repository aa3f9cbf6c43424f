"""An OpenID provider on a free port of this machine: discovery, keys, codes for tokens, and ways to be wrong."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.runtime.servers import Answer, Request, Web, web

CLIENT, CLIENT_SECRET = "jetscan-test", "provider's secret"


@dataclass
class OpenId:
    """Whoever it signs in has `person` as claims; `wrong` changes what it says."""

    server: Web | None = None
    person: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)
    kid: str = "one"
    is_confused: bool = False  # signs with its public key as a secret
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.new_key("one")

    def new_key(self, kid: str) -> None:
        self.kid, self.key = kid, rsa.generate_private_key(65537, 2048)

    @property
    def issuer(self) -> str:
        assert self.server is not None
        return self.server.url

    def asked(self, path: str) -> int:
        assert self.server is not None
        return sum(one.path == path for one in self.server.requests)

    def sign_in(self, location: str) -> dict[str, str]:
        """What the provider's page sends the browser back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def answer(self, request: Request) -> Answer:
        told = {
            "/.well-known/openid-configuration": self._about,
            "/keys": self._keys,
            "/token": self._token,
        }[request.path](request)
        status = 400 if "error" in told else 200
        return status, {"Content-Type": "application/json"}, json.dumps(told).encode()

    def _about(self, _: Request) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }

    def _keys(self, _: Request) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}

    def _token(self, request: Request) -> dict[str, Any]:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        asked = self.codes.pop(form["code"], None)
        name, _, secret = (
            base64.b64decode(request.headers["authorization"].removeprefix("Basic "))
            .decode()
            .partition(":")
        )
        hashed = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
        is_right = (
            asked is not None
            and (name, secret) == (CLIENT, "provider%27s%20secret")
            and challenge == asked["code_challenge"]
            and form["redirect_uri"] == asked["redirect_uri"]
        )
        if not is_right or asked is None:
            return {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60}
        claims |= {"nonce": asked["nonce"], **self.person, **self.wrong}
        return {"id_token": self._signed(claims), "access_token": "x", "token_type": "Bearer"}

    def _signed(self, claims: dict[str, Any]) -> str:
        if not self.is_confused:
            return jwt.encode(claims, self.key, "RS256", {"kid": self.kid})
        from tests.gateway.test_access import unsigned

        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return unsigned(claims, {"alg": "HS256", "kid": self.kid}, pem)


@contextlib.asynccontextmanager
async def openid() -> AsyncIterator[OpenId]:
    provider = OpenId()
    async with web(provider.answer) as provider.server:
        yield provider
