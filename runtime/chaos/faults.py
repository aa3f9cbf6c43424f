"""What goes wrong with a chaos feed, and at which print: `drop@500,silence@1000,error:406@2000`.

drop          TCP ends without a goodbye          away:S        the same, and nobody listens for S seconds
reset         TCP is reset                        error:CODE    the vendor's error, then a close
close:CODE    the websocket is closed; TCP, as drop auth          from now on no key is right
silence       nothing more on this connection     half          half a frame, then TCP ends
duplicate     the last frame once more            giant:N       nothing until N prints make one frame
reorder       a frame backwards                   skew:S        stamps are S seconds off from now on
slow          the vendor says that it is read too slowly, and ends the connection where that follows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.providers import ProviderError

PLAIN = ("drop", "reset", "silence", "duplicate", "reorder", "half", "auth", "slow")
WITH_NUMBER = {"close": 1000.0, "away": 2.0, "giant": 5_000.0, "skew": 5.0}
SCRIPTS = {
    "calm": "",
    "ends": "drop@300,reset@600,close:1000@900,close:1001@1200,half@1500",
    "away": "away:3@400",
    "mute": "silence@300",
    "untidy": "duplicate@200,reorder@400,duplicate@600,giant:3000@700",
    "clock": "skew:3@300,skew:-3@900",
    "keys": "auth@300,drop@300",
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong at a print, counted over all symbols."""

    at: int
    kind: str
    argument: str = ""

    @property
    def number(self) -> float:
        """The argument as a number."""
        return float(self.argument)


def parse_script(text: str) -> list[Fault]:
    """The faults of a script or of one of SCRIPTS by name, in order of their prints; raises ProviderError."""
    text = SCRIPTS.get(text, text)
    return sorted(
        (_fault(one.strip()) for one in text.split(",") if one.strip()), key=lambda one: one.at
    )


def _fault(text: str) -> Fault:
    told, at, place = text.partition("@")
    kind, _, argument = told.partition(":")
    if not at or not place.isdigit():
        raise ProviderError(f"script: expected FAULT@PRINT, such as drop@500, found {text!r}")
    if kind == "error" and argument:
        return Fault(int(place), kind, argument)
    if kind in PLAIN and not argument:
        return Fault(int(place), kind)
    if kind in WITH_NUMBER:
        try:
            number = float(argument or WITH_NUMBER[kind])
        except ValueError as error:
            raise ProviderError(f"script: {kind}: expected a number, found {argument!r}") from error
        return Fault(int(place), kind, str(number))
    names: Sequence[str] = (*PLAIN, *(f"{one}:N" for one in WITH_NUMBER), "error:CODE")
    raise ProviderError(f"script: expected one of {', '.join(names)}, found {told!r}")
