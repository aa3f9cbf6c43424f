"""Why a vendor's connection ended, and what follows: open it again, back off and raise an alarm, or give up. Pure.

vendor     code              means                                             what follows
alpaca     402 409 411       key, plan or scope are wrong                      give up
           406               connection limit: somebody uses our key           back off
           407               we read too slowly                                again
massive    auth_failed       the key is wrong                                  give up
           max_connections   somebody uses our key                             back off
           force_disconnect  the older of two connections is closed            back off
           slow_consumer     we read too slowly                                again
databento  1 2               the key is wrong, or off                          give up
           3                 connection limit                                  back off
           7                 records were skipped, we read too slowly          again
           8                 what was to be sent again is too old              again, from now on
any        away              nobody listens, or no way leads there             knock
           anything else     a close we did not ask for, silence, their error  again

A request that is refused leaves the connection and its subscriptions as they were:

alpaca     400                                 a symbol is wrong, perhaps        halve: see `runtime.providers.asking`
           405                                 the symbol limit                  halve, and learn the limit
           403 410                             not to be asked                   refused
massive    error                               plan, or a wrong symbol           refused
databento  4 5                                 a symbol is wrong, or the request refused
binance    2 3                                 the request is wrong              refused
coinbase   Failed to subscribe                 a product is wrong                halve

In each case that does not give up, what was sent meanwhile is lost: a gap. Two of us that each open
again at once would close one another for ever, so a twin waits as long as anybody does, and says so.

Who is away is knocked at every KNOCK_S at most, however long that lasts: it costs nobody anything, and a
server that is back is not left alone for half a minute.

Sources: Alpaca, real-time stock data, error codes; Massive, websocket status messages; Databento,
live API, error records.
"""

from __future__ import annotations

import errno
import socket

from runtime.providers import ProviderError

AGAIN, KNOCK, BACK_OFF, GIVE_UP = "again", "knock", "back off", "give up"
REFUSE, HALVE, LIMIT = "refuse", "halve", "limit"
MUTE, CLOSED, AWAY = "mute", "closed", "away"  # codes of our own
WAIT_MAX_S = 30.0
WAIT_FIRST_S = 0.5
KNOCK_S = 1.5
NO_WAY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)

_DECISIONS = {
    "alpaca": {"402": GIVE_UP, "409": GIVE_UP, "411": GIVE_UP, "406": BACK_OFF},
    "massive": {
        "auth_failed": GIVE_UP,
        "max_connections": BACK_OFF,
        "force_disconnect": BACK_OFF,
    },
    "databento": {"1": GIVE_UP, "2": GIVE_UP, "3": BACK_OFF},
}

_OF_REQUESTS = {
    "alpaca": {"400": HALVE, "405": LIMIT, "403": REFUSE, "410": REFUSE},
    "massive": {"error": REFUSE},
    "databento": {"4": REFUSE, "5": REFUSE},
    "binance": {"2": REFUSE, "3": REFUSE},
    "coinbase": {"Failed to subscribe": HALVE},
}


class Dropped(ProviderError):
    """A connection that ended, though nobody here ended it; `code` is the vendor's, or one of ours."""

    def __init__(self, vendor: str, code: str) -> None:
        super().__init__(f"{vendor}: the connection ended: {code}")
        self.vendor, self.code = vendor, code


def decision(vendor: str, code: str) -> str:
    """What follows when a vendor ends a connection with a code."""
    if code == AWAY:
        return KNOCK
    return _DECISIONS.get(vendor, {}).get(code, AGAIN)


def code_of(error: OSError) -> str:
    """Why a connection could not be opened, or went on no more."""
    is_away = isinstance(error, socket.gaierror) or error.errno in NO_WAY
    return AWAY if is_away else CLOSED


def request_fault(vendor: str, code: str) -> str:
    """What follows when a vendor refuses a request with a code; empty: it is no refusal of a request."""
    return _OF_REQUESTS.get(vendor, {}).get(code, "")


def longest_wait_s(action: str, tries: int) -> float:
    """The longest time to wait before try number `tries`, from 0; the real one is drawn below it."""
    if action == KNOCK:
        return KNOCK_S
    if action == BACK_OFF:
        return WAIT_MAX_S
    return min(WAIT_MAX_S, WAIT_FIRST_S * 2.0 ** min(tries, 10))
