"""Signing in by an OpenID provider: to it, and back from it."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, abort, g, redirect, request
from quart_schema import document_response, tag, validate_querystring

from runtime.config import Settings, listed
from runtime.gateway import accounts
from runtime.gateway.access import ROLES
from runtime.gateway.accounts import Refused, SignIn
from runtime.gateway.gateway import Gateway
from runtime.gateway.guard import too_many
from runtime.gateway.limits import Limit
from runtime.gateway.provider import Provider
from runtime.gateway.signing import set_cookie
from runtime.store import Connection

BASE = "/api/v1/auth/oidc"
COOKIE = "jetscan_oidc"
PURPOSE = "oidc sign-in"
UNDERWAY_S = 600
BY_ADDRESS = Limit("oidc", 0.5, 20)


class ToProvider(BaseModel):
    """Where to go when signed in: a path of this page."""

    next: str = Field("/", max_length=500)


class FromProvider(BaseModel):
    """What the provider sends back."""

    state: str = Field("", max_length=200)
    code: str = Field("", max_length=4000)
    error: str = Field("", max_length=200)
    error_description: str = Field("", max_length=2000)
    iss: str = Field("", max_length=500)
    session_state: str = Field("", max_length=500)


class Nothing(BaseModel):
    """No body: a redirection."""


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    settings = gateway.settings
    provider = Provider(settings)

    @app.get(f"{BASE}/login")
    @tag(["auth"])
    @validate_querystring(ToProvider)
    @document_response(Nothing, 302)
    async def to_provider(query_args: ToProvider) -> Any:
        """Send the browser to the OpenID provider."""
        _need_provider(settings)
        verdict = await gateway.limits.take_shared(BY_ADDRESS, g.address)
        if not verdict.is_let:
            return too_many(verdict)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        place = await provider.sign_in_url(_back(settings), state, nonce, verifier)
        underway = {"state": state, "nonce": nonce, "verifier": verifier}
        underway["next"] = _path(query_args.next)
        response = redirect(place)
        sealed = gateway.directory.tokens.seal(PURPOSE, underway, UNDERWAY_S)
        # Lax: the provider's page sends the browser back here, and the cookie has to come along.
        response.set_cookie(
            COOKIE,
            sealed,
            max_age=UNDERWAY_S,
            path=BASE,
            secure=g.is_secure or settings.public_url.startswith("https://"),
            httponly=True,
            samesite="Lax",
        )
        return response

    @app.get(f"{BASE}/callback")
    @tag(["auth"])
    @validate_querystring(FromProvider)
    @document_response(Nothing, 302)
    async def from_provider(query_args: FromProvider) -> Any:
        """Take the browser back from the provider, signed in: what renews the sign-in is a cookie."""
        _need_provider(settings)
        told = query_args
        underway = gateway.directory.tokens.unseal(PURPOSE, request.cookies.get(COOKIE, ""))
        if underway is None or not hmac.compare_digest(
            underway["state"].encode(), told.state.encode()
        ):
            abort(400, "state: expected that of a sign-in begun in this browser; begin again")
        if told.iss and told.iss != settings.oidc_issuer:
            abort(400, "iss: expected the provider that was asked")
        if told.error or not told.code:
            abort(403, f"the provider did not sign in: {told.error or 'no code'}")
        claims = await provider.claims(
            told.code, _back(settings), underway["nonce"], underway["verifier"]
        )
        _check_allowed(settings, claims)
        begun = await gateway.database.run(lambda c: _begin(c, settings, claims))
        await gateway.directory.read()
        await gateway.audit.note(begun.user, "auth.oidc", begun.id, {"subject": claims["sub"]})
        response = redirect(underway["next"])
        response.delete_cookie(COOKIE, path=BASE)
        set_cookie(gateway, response, begun)
        return response


async def _begin(connection: Connection, settings: Settings, claims: dict[str, Any]) -> SignIn:
    """A sign-in of whom the provider names, who has an account from the first one on."""
    await accounts.alone(connection)
    issuer, subject = settings.oidc_issuer, claims["sub"]
    email = _text(claims.get("email"))
    user = await accounts.identity(connection, issuer, subject)
    if user is None:
        name = _text(claims.get("name"))
        wanted = _text(claims.get("preferred_username")) or email.partition("@")[0] or subject
        user = await accounts.identify(connection, issuer, subject, wanted, name, email)
    if settings.oidc_roles_claim:
        told = claims.get(settings.oidc_roles_claim)
        texts = {one for one in told if isinstance(one, str)} if isinstance(told, list) else set()
        roles = sorted(ROLES & texts)
        if not roles:
            raise Refused(403, "the provider gives you neither the role trader nor admin")
        if roles != sorted((await accounts.person(connection, user))["roles"]):
            await accounts.change(connection, user, {"roles": roles})
    if (await accounts.person(connection, user))["is_disabled"]:
        raise Refused(403, "the account is disabled")
    return await accounts.sign_in(connection, user, settings.refresh_s)


def _check_allowed(settings: Settings, claims: dict[str, Any]) -> None:
    """403 for whoever the setting does not name."""
    allowed = {one.lower() for one in listed(settings.oidc_allowed)}
    email = _text(claims.get("email")).lower()
    is_named = email in allowed or email.rpartition("@")[2] in allowed
    if "*" in allowed or (is_named and claims.get("email_verified") is True and "@" in email):
        return
    abort(403, "this account of the provider may not sign in here; ask an admin")


def _need_provider(settings: Settings) -> None:
    if not settings.oidc_issuer:
        abort(404, "no OpenID provider is set up: JETSCAN_OIDC_ISSUER")


def _back(settings: Settings) -> str:
    """Where the provider sends the browser."""
    scheme = "https" if g.is_secure else "http"
    return (settings.public_url.rstrip("/") or f"{scheme}://{request.host}") + f"{BASE}/callback"


def _path(told: str) -> str:
    """A path of this page, whatever was asked for: not another host."""
    is_ours = told.startswith("/") and not told.startswith(("//", "/\\")) and told.isprintable()
    return told if is_ours and "\\" not in told else "/"


def _text(told: Any) -> str:
    return told.replace("\0", "")[:320] if isinstance(told, str) else ""
