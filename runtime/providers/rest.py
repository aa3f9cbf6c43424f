"""What is asked of vendors over REST: one answer, waited for while there were too many requests or they are in trouble."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx

from runtime.providers import ProviderError

TIMEOUT_S = 30.0
TRIES = 5
WAIT_S = 1.0
WAIT_MAX_S = 30.0  # however long a vendor asks us to wait
TOO_MANY = 429


class Refused(ProviderError):
    """A vendor answered, but not with what was asked for."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status

    @property
    def is_final(self) -> bool:
        """Whether the same request would be refused again."""
        client_error = httpx.codes.BAD_REQUEST <= self.status < httpx.codes.INTERNAL_SERVER_ERROR
        return client_error and self.status != TOO_MANY


def answer(client: httpx.Client, vendor: str, path: str, asked: Mapping[str, str]) -> bytes:
    """The body of an answer; raises ProviderError for a refusal, or after TRIES."""
    for tried in range(1, TRIES + 1):
        try:
            response = client.get(path, params=asked)
        except httpx.HTTPError as error:
            if tried == TRIES:
                raise ProviderError(f"{vendor}: {path}: {type(error).__name__}: {error}") from error
            wait_s = WAIT_S * 2 ** (tried - 1)
        else:
            status = response.status_code
            if status == httpx.codes.OK:
                return response.content
            is_passing = status == TOO_MANY or status >= httpx.codes.INTERNAL_SERVER_ERROR
            if tried == TRIES or not is_passing:
                raise Refused(f"{vendor}: {path}: status {status}: {response.text[:200]}", status)
            wait_s = _wait_s(response, tried)
        time.sleep(wait_s)
    raise AssertionError("unreachable")


def _wait_s(response: httpx.Response, tried: int) -> float:
    """What the vendor asks for in seconds, else twice as long each time."""
    told = response.headers.get("Retry-After", "")
    wait_s = float(told) if told.isdigit() else WAIT_S * 2 ** (tried - 1)
    return min(wait_s, WAIT_MAX_S)


def rest_of(text: str) -> str:
    """The address of a REST server, where keys may be sent to; raises ValueError."""
    if not text.startswith(("https://", "http://")):
        raise ValueError("expected http:// or https://")
    return text.rstrip("/")
