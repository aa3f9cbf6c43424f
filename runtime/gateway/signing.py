"""Signing in and out: passwords, tokens and what renews them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from quart import Quart, Response, abort, g, jsonify, request
from quart_schema import document_request, document_response, tag, validate_request

from runtime.gateway import accounts, asked, passwords
from runtime.gateway.access import ROLES, need_person
from runtime.gateway.accounts import Refused, SignIn
from runtime.gateway.answers import Message
from runtime.gateway.auth import Unauthorized
from runtime.gateway.gateway import Gateway
from runtime.gateway.guard import too_many
from runtime.gateway.limits import Limit
from runtime.store import Connection

COOKIE, COOKIE_PATH = "jetscan_refresh", "/api/v1/auth"
BY_USER = Limit("sign-in", 10 / 60, 10)  # of one user from one address
BY_ADDRESS = Limit("sign-in-address", 1.0, 60)
BY_NAME = Limit("sign-in-user", 1.0, 60)  # of one user from anywhere: slower than guessing needs
SETUP = Limit("setup", 10 / 60, 10)
Password = Field(min_length=1, max_length=passwords.LENGTH_MAX)


class Login(BaseModel):
    """A password, and whether what renews the sign-in comes as a cookie."""

    user_id: str = Field(min_length=1, max_length=64)
    password: str = Password
    cookie: bool = False


class FirstAdmin(BaseModel):
    """The one-time code, and the first admin."""

    code: str = Field(min_length=1, max_length=100)
    user_id: str = Field(min_length=1, max_length=64)
    password: str = Password
    name: str = Field("", max_length=200)
    email: str = Field("", max_length=320)
    cookie: bool = False


class Renewal(BaseModel):
    """What renews a sign-in; empty where it is in the cookie."""

    refresh_token: str = Field("", max_length=200)


class NewPassword(BaseModel):
    """The password until now, and the one from now on."""

    password: str = Password
    new_password: str = Password
    cookie: bool = False


class UserShape(BaseModel):
    """A person."""

    user_id: str
    name: str
    email: str
    roles: list[str]


class SignedIn(BaseModel):
    """Tokens; `refresh_token` is not there where it is a cookie."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str | None = None
    user: UserShape


class Methods(BaseModel):
    """How to sign in here."""

    mode: str
    password: bool
    oidc: dict[str, str] | None
    setup: bool


def add(app: Quart, gateway: Gateway) -> None:
    """Add the routes."""
    _add_setup(app, gateway)
    _add_login(app, gateway)
    _add_renewal(app, gateway)
    _add_password(app, gateway)


def _add_setup(app: Quart, gateway: Gateway) -> None:
    settings = gateway.settings

    @app.get("/api/v1/auth/methods")
    @tag(["auth"])
    @document_response(Methods, 200)
    async def list_methods() -> Any:
        """How to sign in here, and whether the first admin is to be made."""
        return {
            "mode": settings.mode,
            "password": gateway.store is not None,
            "oidc": {"name": settings.oidc_name} if settings.oidc_issuer else None,
            "setup": gateway.setup.is_open,
        }

    @app.post("/api/v1/auth/setup")
    @tag(["auth"])
    @validate_request(FirstAdmin)
    @document_response(SignedIn, 201)
    async def set_up(data: FirstAdmin) -> Any:
        """Make the first admin, with the code that the gateway wrote to a file."""
        verdict = await gateway.limits.take_shared(SETUP, g.address)
        if not verdict.is_let:
            return too_many(verdict)
        if not gateway.setup.is_open:
            abort(409, "there is an admin already; sign in")
        if not gateway.setup.is_right(data.code):
            abort(403, "code: expected the one in the file that the gateway's log names")
        _check(data.password, data.user_id, data.email)
        kept = await gateway.passwords.hash(data.password)

        async def work(connection: Connection) -> SignIn:
            await accounts.alone(connection)
            if await accounts.admins(connection):
                raise Refused(409, "there is an admin already; sign in")
            person = (data.user_id, data.name, data.email, sorted(ROLES), kept)
            await accounts.make(connection, *person)
            return await accounts.sign_in(connection, data.user_id, settings.refresh_s)

        begun = await gateway.database.run(work)
        await gateway.audit.note(data.user_id, "auth.setup", data.user_id)
        return await signed_in(gateway, begun, data.cookie, 201)


def _add_login(app: Quart, gateway: Gateway) -> None:
    @app.post("/api/v1/auth/login")
    @tag(["auth"])
    @validate_request(Login)
    @document_response(SignedIn, 200)
    async def log_in(data: Login) -> Any:
        """Sign in with a password."""
        # What is no name is nobody's: it must not be counted beside the name that it resembles.
        user = data.user_id if accounts.NAME.fullmatch(data.user_id) else ""
        for limit, key in (
            (BY_ADDRESS, g.address),
            (BY_USER, f"{g.address}:{user}"),
            (BY_NAME, user),
        ):
            verdict = await gateway.limits.take_shared(limit, key)
            if not verdict.is_let:
                return too_many(verdict)
        if not await _is_right(gateway, user, data.password):
            await gateway.audit.note(user, "auth.refused", user)
            raise Unauthorized("the user or the password is wrong")
        life_s = gateway.settings.refresh_s
        begun = await gateway.database.run(lambda c: accounts.sign_in(c, user, life_s))
        await gateway.audit.note(user, "auth.login", begun.id)
        return await signed_in(gateway, begun, data.cookie)


def _add_renewal(app: Quart, gateway: Gateway) -> None:
    life_s = gateway.settings.refresh_s

    @app.post("/api/v1/auth/refresh")
    @tag(["auth"])
    @document_request(Renewal)
    @document_response(SignedIn, 200)
    async def renew() -> Any:
        """New tokens for a refresh token, which is good for once: one that comes again ends its sign-in."""
        given, is_cookie = await _refresh_token()
        renewed = await gateway.database.run(lambda c: accounts.renew(c, given, life_s))
        if isinstance(renewed, str):
            if renewed == "reuse":
                owner = await gateway.database.run(lambda c: accounts.owner_of(c, given))
                session, user = owner or ("", "")
                await gateway.audit.note(user, "auth.reuse", session)
                await gateway.directory.read()
            raise Unauthorized("the refresh token is not valid: sign in again")
        return await signed_in(gateway, renewed, is_cookie)

    @app.post("/api/v1/auth/logout")
    @tag(["auth"])
    @document_request(Renewal)
    @document_response(Message, 200)
    async def log_out() -> Any:
        """End this sign-in and every token of it."""
        given, _ = await _refresh_token()
        owner = await gateway.database.run(lambda c: accounts.owner_of(c, given)) if given else None
        session, user = owner or (g.caller.session, g.caller.user)
        if session:
            await gateway.database.run(lambda c: accounts.sign_out(c, session))
            await gateway.directory.read()
            await gateway.audit.note(user, "auth.logout", session)
        response = jsonify({"message": "Signed out"})
        response.delete_cookie(COOKIE, path=COOKIE_PATH)
        return response


def _add_password(app: Quart, gateway: Gateway) -> None:
    @app.post("/api/v1/auth/password")
    @tag(["auth"])
    @validate_request(NewPassword)
    @document_response(SignedIn, 200)
    async def set_password(data: NewPassword) -> Any:
        """Change the own password; every other sign-in ends."""
        need_person()
        user = g.user
        verdict = await gateway.limits.take_shared(BY_USER, f"{g.address}:{user}")
        if not verdict.is_let:
            return too_many(verdict)
        if not await _is_right(gateway, user, data.password):
            abort(403, "password: expected the present one")
        _check(data.new_password, user)
        kept = await gateway.passwords.hash(data.new_password)

        async def work(connection: Connection) -> SignIn:
            await accounts.change(connection, user, {"password_hash": kept})
            await accounts.sign_out_everywhere(connection, user, "password changed")
            return await accounts.sign_in(connection, user, gateway.settings.refresh_s)

        begun = await gateway.database.run(work)
        await gateway.audit.note(user, "auth.password", user)
        return await signed_in(gateway, begun, data.cookie)


async def signed_in(
    gateway: Gateway, begun: SignIn, is_cookie: bool, status: int = 200
) -> Response:
    """The answer that hands out tokens."""
    await gateway.directory.read()
    person = await gateway.database.run(lambda c: accounts.person(c, begun.user))
    roles = sorted(person["roles"])
    body: dict[str, Any] = {
        "access_token": gateway.directory.tokens.issue(begun.user, roles, begun.id),
        "token_type": "Bearer",
        "expires_in": gateway.settings.token_s,
        "user": {
            "user_id": begun.user,
            "name": person["name"],
            "email": person["email"],
            "roles": roles,
        },
    }
    if not is_cookie:
        body["refresh_token"] = begun.refresh_token
    response: Response = jsonify(body)
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    if is_cookie:
        set_cookie(gateway, response, begun)
    return response


def set_cookie(gateway: Gateway, response: Any, begun: SignIn) -> None:
    """Hand out what renews a sign-in where no script can read it."""
    is_secure = g.is_secure or gateway.settings.public_url.startswith("https://")
    response.set_cookie(
        COOKIE,
        begun.refresh_token,
        max_age=gateway.settings.refresh_s,
        path=COOKIE_PATH,
        secure=is_secure,
        httponly=True,
        samesite="Strict",
    )


async def _refresh_token() -> tuple[str, bool]:
    """The refresh token of a request, and whether it is in the cookie."""
    told = (await asked.optional_body(Renewal)).refresh_token
    return (told, False) if told else (request.cookies.get(COOKIE, ""), True)


async def _is_right(gateway: Gateway, user: str, password: str) -> bool:
    """Whether a password is a user's; the same work is done for one that is not there."""
    statement = "SELECT password_hash, is_disabled FROM users WHERE id = $1"
    found = await gateway.database.fetch(statement, user)
    kept = found[0]["password_hash"] if found else None
    is_right = await gateway.passwords.is_right(password, kept)
    if kept and is_right and gateway.passwords.is_outdated(kept):
        again = await gateway.passwords.hash(password)
        await gateway.database.execute(
            "UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3",
            *(user, again, kept),
        )
    return is_right and not found[0]["is_disabled"]


def _check(password: str, user: str, email: str = "") -> None:
    fault = passwords.fault(password, user, email)
    if fault:
        abort(400, fault)
