"""The slow, obvious twin of deliveries: one alert after the other, dicts, no arrays, nothing shared.

It knows no limit on what is held, and asks the wall clock of a zone minute by minute whether it is quiet.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

SECOND_NS = 10**9
LATE_NS = 600 * SECOND_NS
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class SlowDeliveries:
    """What each user is told, as (user, "alert", seq) or (user, "digest", reason, count, first, last)."""

    def __init__(self) -> None:
        self.profiles: dict[str, dict[str, Any]] = {}
        self.until: dict[tuple[str, str, str], int] = {}
        self.heard = 0
        self.windows: dict[str, tuple[int, int]] = {}
        self.open: dict[tuple[str, str], dict[str, Any]] = {}
        self.said: list[tuple[Any, ...]] = []
        self.number = 0

    def control(self, user: str, profile: dict[str, Any]) -> None:
        self.profiles[user] = profile

    def clock(self, ts_ns: int) -> None:
        for user in sorted(self.profiles):
            self._close(user, ts_ns)

    def alert(self, ts_ns: int, rule: str, symbol: str, strength: float) -> None:
        self.number += 1
        self.heard = max(self.heard, ts_ns)
        for user in sorted(self.profiles):
            self._close(user, self.heard)
            if self._wants(self.profiles[user], rule, symbol, ts_ns):
                self._offer(user, rule, symbol, ts_ns, strength)

    def _wants(self, profile: dict[str, Any], rule: str, symbol: str, ts_ns: int) -> bool:
        for mute in profile.get("mutes", []):
            named = mute.get("rule", rule) == rule and mute.get("symbol", symbol) == symbol
            if named and ts_ns < stamp(mute.get("until", "2200-01-01T00:00:00Z")):
                return False
        for one in profile.get("subscriptions", []):
            symbols = list(one.get("symbols", []))
            for name in one.get("watchlists", []):
                symbols += profile["watchlists"][name]
            is_open = "symbols" not in one and "watchlists" not in one
            if rule in one.get("rules", [rule]) and (is_open or symbol in symbols):
                return True
        return False

    def _offer(self, user: str, rule: str, symbol: str, ts_ns: int, strength: float) -> None:
        profile = self.profiles[user]
        until = self.until.get((user, rule, symbol), 0)
        has_cooldown = profile.get("cooldown_s", 300) > 0
        if has_cooldown and ts_ns < until and until > self.heard - LATE_NS:
            return
        self.until[user, rule, symbol] = ts_ns + profile.get("cooldown_s", 300) * SECOND_NS
        quiet_end = self._quiet_end(profile, self.heard)
        if quiet_end:
            self._count(user, "quiet", quiet_end, rule, strength)
            return
        budget = profile.get("budget", {})
        width = budget.get("window_s", 10) * SECOND_NS
        window, count = self.windows.get(user, (-1, 0))
        if window != self.heard // width:
            window, count = self.heard // width, 0
        if count < budget.get("alerts", 60):
            self.windows[user] = window, count + 1
            self.said.append((user, "alert", self.number))
        else:
            self._count(user, "budget", (window + 1) * width, rule, strength)

    def _quiet_end(self, profile: dict[str, Any], ts_ns: int) -> int:
        """The end of the longest quiet hours that hold, walking minute by minute until they do not."""
        ends = [0]
        for one in profile.get("quiet", []):
            moment = datetime.fromtimestamp(ts_ns // SECOND_NS, UTC)
            if is_quiet(one, moment):
                minute = moment.replace(second=0)
                while is_quiet(one, minute):
                    minute += timedelta(minutes=1)
                ends.append(int(minute.timestamp()) * SECOND_NS)
        return max(ends)

    def _count(self, user: str, reason: str, due: int, rule: str, strength: float) -> None:
        digest = self.open.setdefault(
            (user, reason), {"due": 0, "count": 0, "first": self.number, "top": [], "rules": {}}
        )
        digest["due"] = max(digest["due"], due)
        digest["count"] += 1
        digest["last"] = self.number
        digest["rules"][rule] = digest["rules"].get(rule, 0) + 1
        digest["top"].append((-strength, self.number))

    def _close(self, user: str, now: int) -> None:
        for reason in ("budget", "quiet"):
            digest = self.open.get((user, reason))
            if digest and digest["due"] <= now:
                del self.open[user, reason]
                top = [number for _, number in sorted(digest["top"])[:20]]
                rules = dict(sorted(digest["rules"].items()))
                span = digest["count"], digest["first"], digest["last"]
                self.said.append((user, "digest", reason, *span, str(rules), str(top)))


def is_quiet(hours: dict[str, Any], moment: datetime) -> bool:
    """Whether the zone's own clock shows a time within the hours, begun on one of their days."""
    local = moment.astimezone(ZoneInfo(hours["zone"]))
    shown, days = f"{local:%H:%M}", hours.get("days", DAYS)
    today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
    if hours["from"] < hours["to"]:
        return hours["from"] <= shown < hours["to"] and today in days
    return (shown >= hours["from"] and today in days) or (shown < hours["to"] and yesterday in days)


def stamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND_NS
