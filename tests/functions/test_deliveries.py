"""Who is told of which alert: held to a slow twin over random alerts, profiles, cuts and restarts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.alerts import alerts
from functions.deliveries import deliveries
from functions.users import digests
from functions.users.cooldowns import Cooldowns, hash_of, keys_of, rounds
from functions.users.matches import Matches
from functions.users.profiles import USERS_MAX, ProfileFault, check_profile
from functions.users.quiet import quiet_ends, quiet_of
from functions.users.told import KEPT_MAX, users_of, with_told
from runtime.frames import Frame, encode, texts
from runtime.testing import Harness
from tests.functions.slow_deliveries import SECOND_NS, SlowDeliveries, is_quiet, stamp

T0 = 1_767_623_400_000_000_000  # Monday, 09:30 in New York
RULES, SYMBOLS = ["r1", "r2", "r3"], ["A", "B", "C", "D"]
PROFILES: list[dict[str, Any]] = [
    {"subscriptions": [{}], "cooldown_s": 0, "budget": {"alerts": 3, "window_s": 10}},
    {"subscriptions": [{"rules": ["r1", "r2"]}], "cooldown_s": 20},
    {
        "subscriptions": [{"watchlists": ["w"], "symbols": ["A"]}, {"rules": ["r3"], "symbols": ["D"]}],
        "watchlists": {"w": ["B"]},
        "cooldown_s": 5,
        "mutes": [{"rule": "r1", "until": "2026-01-05T14:30:40Z"}, {"rule": "r2", "symbol": "B"}],
        "budget": {"alerts": 1, "window_s": 7},
    },
    {
        "subscriptions": [{}],
        "cooldown_s": 1,
        "budget": {"alerts": 2, "window_s": 5},
        "quiet": [
            {"from": "09:31", "to": "09:33", "zone": "America/New_York"},
            {"from": "15:32", "to": "15:34", "zone": "Europe/Berlin"},
            {"from": "23:00", "to": "14:36", "zone": "UTC", "days": ["tue", "sun"]},
        ],
    },
]  # fmt: skip


def hosted(*profiles: dict[str, Any]) -> Harness:
    h = Harness(alerts, deliveries)
    for number, profile in enumerate(profiles):
        control(h, f"u{number}", profile)
    return h


def control(h: Harness, user: str, profile: Any, version: int = 1) -> None:
    body = json.dumps(profile) if profile is not None else ""
    h.send("alerts.control", version=[version], user=[user], body=[body])


def fired(h: Harness, *events: tuple[int, str, str], price: float = 1.0) -> dict[str, Frame]:
    """One frame of alerts, (second, rule, symbol) each."""
    return h.send(
        "alerts",
        symbol=[symbol for _, _, symbol in events],
        ts_ns=[T0 + round(second * SECOND_NS) for second, _, _ in events],
        price=[price] * len(events),
        rule_id=[rule for _, rule, _ in events],
        rule_name=[f"Rule {rule}" for _, rule, _ in events],
        id=[f"{rule}-{symbol}-{second}" for second, rule, symbol in events],
        values=['{"metrics": {}}'] * len(events),
    )


def told(out: dict[str, Frame]) -> list[tuple[Any, ...]]:
    """Deliveries in the twin's words."""
    found: list[tuple[Any, ...]] = []
    if "alerts.user" not in out:
        return found
    frame = out["alerts.user"]
    for user, kind, text in zip(frame["user"], frame["kind"], frame["body"], strict=True):
        body = json.loads(text)
        if kind == "alert":
            found.append((user, kind, body["seq"]))
        else:
            rules = dict(sorted((one["rule_id"], one["count"]) for one in body["rules"]))
            top = [one["seq"] for one in body["top"]]
            span = body["count"], body["seq_from"], body["seq_to"]
            found.append((user, kind, body["reason"], *span, str(rules), str(top)))
    return found


def market(seed: int) -> list[tuple[Any, ...]]:
    """Alerts of some minutes, at times in bursts, some late, a few very late; clock events in between."""
    draw = np.random.default_rng(seed)
    events: list[tuple[Any, ...]] = []
    now = T0
    for _ in range(int(draw.integers(1, 12))):
        now += int(draw.choice([0, 1, 4, 30, 700], p=[0.3, 0.3, 0.2, 0.15, 0.05]) * SECOND_NS)
        for _ in range(int(draw.choice([1, 2, 9]))):
            now += int(draw.choice([0, SECOND_NS // 3]))
            late_s = draw.choice([0, 0, 0, 2, 15, 650])
            events.append(("alert", now - int(late_s) * SECOND_NS, str(draw.choice(RULES)), str(draw.choice(SYMBOLS))))  # fmt: skip
        if draw.random() < 0.4:
            events.append(("clock", now + int(draw.choice([0, 8, 120])) * SECOND_NS))
    return events


def expected(events: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    twin = SlowDeliveries()
    for number, profile in enumerate(PROFILES):
        twin.control(f"u{number}", profile)
    for kind, ts_ns, *rest in events:
        if kind == "clock":
            twin.clock(ts_ns)
        else:
            twin.alert(ts_ns, *rest, 0.0)
    return twin.said


def found(events: list[tuple[Any, ...]], width: int, crash_every: int = 0) -> list[tuple[Any, ...]]:
    """What the function says when alerts are cut into frames of `width`."""
    h, said = hosted(*PROFILES), []
    waiting: list[tuple[Any, ...]] = []
    for place, (kind, ts_ns, *rest) in enumerate([*events, ("clock", 0)]):
        if waiting and (kind == "clock" or len(waiting) == width):
            said += told(fired(h, *waiting))
            waiting = []
        if kind == "alert":
            waiting.append(((ts_ns - T0) / SECOND_NS, *rest))
        elif ts_ns:
            said += told(h.send("alerts.clock", ts_ns=[ts_ns]))
        if crash_every and place % crash_every == 0:
            h.crash_and_restore()
    return said


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 4))
def test_any_cut_and_any_crash_says_what_the_slow_twin_says(
    seed: int, width: int, crash_every: int
) -> None:
    events = market(seed)
    assert found(events, width, crash_every) == expected(events)


def test_the_random_markets_reach_every_way_an_alert_can_go() -> None:
    said = [one for seed in range(30) for one in expected(market(seed))]
    assert {one[1] for one in said} == {"alert", "digest"}
    assert {one[2] for one in said if one[1] == "digest"} == {"budget", "quiet"}
    assert {one[0] for one in said} == {"u0", "u1", "u2", "u3"}


def test_a_storm_of_ten_thousand_in_a_second_is_a_bounded_digest_and_all_of_it_is_in_history() -> (
    None
):
    h = hosted(*({"subscriptions": [{}], "channels": ["phone"]} for _ in range(3)))
    count, said, history = 500, [], []
    for frame in range(20):
        events = [(frame / 20 + k / 1e6, "low", f"S{frame * count + k}") for k in range(count)]
        out = fired(h, *events)
        said += told(out)
        history += out["alerts.filtered"]["number"].tolist()
    out = h.send("alerts.clock", ts_ns=[T0 + 10 * SECOND_NS])
    digests = [one for one in told(out) if one[1] == "digest"]
    assert history == list(range(1, 10_001))
    for user in ("u0", "u1", "u2"):
        assert [one[2] for one in said if one[0] == user] == list(range(1, 61))
    assert [one[:6] for one in digests] == [
        (user, "digest", "budget", 9_940, 61, 10_000) for user in ("u0", "u1", "u2")
    ]
    body = json.loads(out["alerts.user"]["body"][0])
    assert body["message"] == "9940 alerts in 1 s: 9940 Rule low"
    assert len(body["top"]) == 20
    assert len(out["alerts.outbox"]) == 3


def test_a_digest_shows_the_strongest_first_and_of_equals_the_earliest() -> None:
    count = 50
    strength = np.array([k % 25 for k in range(count)], dtype=float)
    strength[3] = np.nan  # absent counts as 0
    names = {"rule_id": "r", "rule_name": "R", "id": "x", "values": "{}"}
    columns: dict[str, Any] = {name: texts([text] * count) for name, text in names.items()}
    columns |= {"ts_ns": T0 + np.arange(count), "price": np.ones(count), "strength": strength}
    columns["number"] = np.arange(1, count + 1)
    frame = Frame(columns, ["A"], np.zeros(count, dtype=np.int64))
    digest = digests.new_digest("budget")
    for part in (np.arange(0, 30), np.arange(30, count)):
        digests.add(digest, T0, Matches(frame, columns["ts_ns"]), part)
    wanted = sorted(range(count), key=lambda k: (-np.nan_to_num(strength[k]), k))[:20]
    assert [one["seq"] for one in digest["top"]] == [k + 1 for k in wanted]
    assert (digest["count"], digest["first"], digest["last"]) == (count, 1, count)


def test_values_that_are_no_json_leave_an_alert_without_and_great_numbers_are_texts() -> None:
    h = hosted({"subscriptions": [{}], "cooldown_s": 0})
    out = h.send(
        "alerts",
        symbol=["A", "B"],
        ts_ns=[T0, T0],
        price=[1.0, 1.0],
        values=["not JSON", '{"trade": 9007199254740993}'],
    )
    bodies = [json.loads(text) for text in out["alerts.user"]["body"]]
    assert [one["metadata"] for one in bodies] == [{}, {"trade": "9007199254740993"}]
    assert [one["kind"] for one in bodies] == ["alert", "alert"]


def test_every_delivery_to_a_channel_is_a_message_of_its_own() -> None:
    h = hosted({"subscriptions": [{}], "cooldown_s": 0, "channels": ["phone", "mail"]})
    frame = h.frame("alerts", symbol=["A", "B"], ts_ns=[T0, T0 + 1], price=[1.0, 2.0])
    outputs = h.publish("alerts", encode(frame, h.subjects.record_of("alerts")))
    outbox = [one for one in outputs if one.base == "alerts.outbox"]
    assert [one.part for one in outbox] == [0, 1, 2, 3]
    assert [(one.frame["channel"][0], len(one.frame)) for one in outbox if one.frame] == [
        ("phone", 1), ("mail", 1), ("phone", 1), ("mail", 1)
    ]  # fmt: skip


def test_the_same_alert_has_the_same_delivery_id_in_any_run_and_another_for_another_user() -> None:
    ids = [
        fired(hosted({"subscriptions": [{}]}, {"subscriptions": [{}]}), (0, "r1", "A"))["alerts.user"]["id"].tolist()
        for _ in range(2)
    ]  # fmt: skip
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


def test_a_profile_of_an_older_version_changes_nothing_and_an_empty_one_ends_it() -> None:
    h = hosted({"subscriptions": [{}], "cooldown_s": 0})
    control(h, "u0", {"subscriptions": []}, version=1)
    assert told(fired(h, (0, "r1", "A"))) == [("u0", "alert", 1)]
    control(h, "u0", None, version=2)
    assert told(fired(h, (1, "r1", "A"))) == []
    control(h, "u0", {"subscriptions": [{}]}, version=1)
    assert told(fired(h, (2, "r1", "A"))) == []


def test_a_control_message_that_cannot_be_used_is_a_dead_letter_and_the_old_profile_stays() -> None:
    h = Harness(alerts, deliveries, expect_dead=True)
    control(h, "u0", {"subscriptions": [{}], "cooldown_s": 0})
    control(h, "u0", {"subscriptions": 7}, version=2)
    control(h, "../u1", {"subscriptions": [{}]})
    assert [one.subject for one in h.dead] == ["dead.deliveries.all"] * 2
    assert told(fired(h, (0, "r1", "A"))) == [("u0", "alert", 1)]


def test_more_users_than_the_limit_are_refused() -> None:
    h = Harness(alerts, deliveries, expect_dead=True)
    names = [f"u{number}" for number in range(USERS_MAX + 1)]
    body = json.dumps({"subscriptions": [{}]})
    for part in (names[:-1], names[-1:]):
        h.send("alerts.control", version=[1] * len(part), user=part, body=[body] * len(part))
    assert len(h.dead) == 1
    assert len(told(fired(h, (0, "r1", "A")))) == USERS_MAX


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ({"subscription": []}, "no field 'subscription'"),
        ({"subscriptions": [{"watchlists": ["x"]}]}, "expected one of the watchlists [], found 'x'"),
        ({"subscriptions": [{"rules": [1]}]}, "rules: expected texts"),
        ({"cooldown_s": -1}, "cooldown_s: expected a whole number from 0 to 86400, found -1"),
        ({"quiet": [{"from": "25:00", "to": "07:00"}]}, "expected a time such as 22:30, found '25:00'"),
        ({"quiet": [{"from": "22:00", "to": "07:00", "zone": "Mars/Base"}]}, "found 'Mars/Base'"),
        ({"mutes": [{"until": "2026-01-05T20:00:00Z"}]}, "a rule, a symbol or both"),
        ({"mutes": [{"rule": "r", "until": "tomorrow"}]}, "expected a time in UTC"),
        ({"mutes": [{"rule": "r", "until": "nowZ"}]}, "found 'nowZ'"),
        ({"mutes": [{"rule": "r", "until": "todayZ"}]}, "found 'todayZ'"),
        ({"mutes": [{"rule": "r", "until": "NaTZ"}]}, "found 'NaTZ'"),
        ({"mutes": [{"rule": "r", "until": "2026-13-05T20:00:00Z"}]}, "expected a time in UTC"),
        ({"budget": {"alerts": 0}}, "alerts: expected a whole number from 1 to 1000, found 0"),
        ({"channels": ["my phone"]}, "channels: expected names"),
        ([], "profile: expected an object"),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_says_what_was_expected(profile: Any, says: str) -> None:
    with pytest.raises(ProfileFault) as fault:
        check_profile(json.dumps(profile))
    assert says in str(fault.value)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC", "Pacific/Auckland"])
@pytest.mark.parametrize(("start", "end"), [("22:00", "07:00"), ("09:00", "17:30"), ("00:00", "00:00")])  # fmt: skip
def test_quiet_hours_are_those_of_the_zones_own_clock_also_when_it_changes(
    zone: str, start: str, end: str
) -> None:
    hours = {"from": start, "to": end, "zone": zone, "days": ["fri", "sat", "sun"]}
    first = stamp("2026-03-06T00:00:00Z")  # New York's clocks go forward on the 8th
    times = first + np.arange(0, 4 * 24 * 60, 11) * 60 * SECOND_NS
    ends = quiet_ends((quiet_of(hours),), times)
    from datetime import UTC, datetime

    expected = [is_quiet(hours, datetime.fromtimestamp(one // SECOND_NS, UTC)) for one in times.tolist()]  # fmt: skip
    assert (ends > 0).tolist() == expected


@given(st.lists(st.integers(0, 5), max_size=30))
def test_no_place_comes_twice_in_a_round_and_each_keeps_its_order(places: list[int]) -> None:
    parts = rounds(np.array(places, dtype=np.int64))
    seen: dict[int, list[int]] = {}
    for part in parts:
        assert len({places[row] for row in part}) == len(part)
        for row in part.tolist():
            seen.setdefault(places[row], []).append(row)
    assert seen == {one: [k for k, p in enumerate(places) if p == one] for one in set(places)}


def test_the_cooldowns_that_end_first_fall_out_of_a_full_table() -> None:
    cooldowns = Cooldowns("")
    keys = keys_of(*(np.array([hash_of(f"{side}{k}") for k in range(9)], dtype=np.uint64) for side in "urs"))  # fmt: skip
    assert len(set(keys.tolist())) == 9
    when = np.arange(9) * SECOND_NS + T0
    rest = np.full(9, 60 * SECOND_NS), keys, np.zeros(9, dtype=bool)
    cooldowns.admit(keys, when, when, *rest)
    cooldowns.limit(4)
    again = Cooldowns(cooldowns.text())
    later = np.full(9, T0 + 10 * SECOND_NS)
    free = again.admit(keys, later, later, *rest)
    assert free.tolist() == [True] * 5 + [False] * 4


def test_without_a_cooldown_an_alert_of_a_little_earlier_is_told_too() -> None:
    h = hosted({"subscriptions": [{}], "cooldown_s": 0})
    assert len(told(fired(h, (2, "r1", "A"), (1.5, "r1", "A")))) == 2
    assert len(told(fired(h, (1.8, "r1", "A")))) == 1


@pytest.mark.parametrize(("until", "is_told"), [("2300-01-01Z", 0), ("9999-12-31T23:59:59.5Z", 0), ("1500-01-01Z", 1)])  # fmt: skip
def test_a_mute_until_a_year_that_nanoseconds_do_not_reach_holds(until: str, is_told: int) -> None:
    h = hosted({"subscriptions": [{}], "mutes": [{"rule": "r1", "until": until}]})
    assert len(told(fired(h, (0, "r1", "A")))) == is_told


def test_cooldowns_are_forgotten_when_they_are_long_over() -> None:
    h = hosted({"subscriptions": [{}], "cooldown_s": 10})
    fired(h, (0, "r1", "A"))
    fired(h, (600, "r1", "B"))
    h.send("alerts.clock", ts_ns=[T0])
    assert len(Cooldowns(h.state("deliveries")["cooled"]).keys) == 2
    fired(h, (611, "r1", "C"))
    h.send("alerts.clock", ts_ns=[T0])
    assert len(Cooldowns(h.state("deliveries")["cooled"]).keys) == 2


# -- amended and withdrawn


def follow(h: Harness, kind: str, *ids: str, second: float = 2.0) -> dict[str, Frame]:
    """One frame that amends or withdraws alerts by their ids, as `fired` makes them."""
    rules, symbols, _ = zip(*(one.split("-") for one in ids), strict=True)
    return h.send(
        "alerts",
        symbol=list(symbols),
        ts_ns=[T0 + round(second * SECOND_NS)] * len(ids),
        price=[1.0] * len(ids),
        rule_id=list(rules),
        rule_name=list(rules),
        id=list(ids),
        values=["{}"] * len(ids),
        kind=[kind] * len(ids),
        reason=["trade cancelled"] * len(ids),
    )


def who(out: dict[str, Frame]) -> list[tuple[str, str]]:
    frame = out.get("alerts.user")
    return [] if frame is None else list(zip(frame["user"], frame["kind"], strict=True))


def test_a_withdrawal_reaches_those_who_were_told_and_nobody_else() -> None:
    h = hosted(
        {"subscriptions": [{"rules": ["r1"]}], "channels": ["phone"]}, {"subscriptions": [{}]}
    )
    fired(h, (0, "r1", "A"), (1, "r2", "A"))
    control(h, "u2", {"subscriptions": [{}]})
    h.crash_and_restore()
    out = follow(h, "withdrawn", "r1-A-0")
    assert who(out) == [("u0", "withdrawn"), ("u1", "withdrawn")]
    body = json.loads(out["alerts.outbox"]["body"][0])
    assert body["message"] == "Withdrawn: Rule 'r1' matched for A (trade cancelled)"
    assert (body["id"], body["reason"], body["seq"]) == ("r1-A-0", "trade cancelled", 3)
    assert who(follow(h, "withdrawn", "r2-A-1")) == [("u1", "withdrawn")]
    assert who(follow(h, "withdrawn", "r9-A-1")) == []


def test_a_withdrawal_costs_no_budget_and_no_cooldown() -> None:
    h = hosted({"subscriptions": [{}], "budget": {"alerts": 2, "window_s": 3_600}})
    fired(h, (0, "r1", "A"))
    assert who(follow(h, "amended", "r1-A-0")) == [("u0", "amended")]
    assert who(fired(h, (3, "r2", "A"))) == [("u0", "alert")]  # the second of the budget
    fired(h, (4, "r3", "A"))
    assert who(follow(h, "withdrawn", "r1-A-0", second=5)) == [("u0", "withdrawn")]
    assert who(follow(h, "withdrawn", "r3-A-4", second=6)) == []  # it went into a digest


@pytest.mark.parametrize("is_restored", [False, True])
def test_a_withdrawal_ends_the_cooldown_that_its_alert_began(is_restored: bool) -> None:
    h = hosted({"subscriptions": [{}]}, {"subscriptions": [{}], "cooldown_s": 10})
    fired(h, (0, "r1", "A"), (0, "r1", "B"))
    follow(h, "amended", "r1-B-0")
    follow(h, "withdrawn", "r1-A-0")
    if is_restored:
        h.crash_and_restore()
    assert who(fired(h, (3, "r1", "A"), (3, "r1", "B"))) == [("u0", "alert"), ("u1", "alert")]
    assert who(fired(h, (4, "r1", "A"))) == []


def test_a_withdrawal_leaves_the_cooldown_that_a_newer_alert_began() -> None:
    h = hosted({"subscriptions": [{}], "cooldown_s": 2})
    fired(h, (0, "r1", "A"), (3, "r1", "A"))
    follow(h, "withdrawn", "r1-A-0", second=3.5)
    assert who(fired(h, (4, "r1", "A"))) == []


def test_each_amendment_is_a_delivery_with_an_id_of_its_own() -> None:
    h = hosted({"subscriptions": [{}]})
    first = fired(h, (0, "r1", "A"))
    said = [first, *(follow(h, "amended", "r1-A-0", second=s) for s in (1, 2))]
    assert len({out["alerts.user"]["id"][0] for out in said}) == 3


def test_in_quiet_hours_a_withdrawal_is_counted() -> None:
    quiet = [{"from": "14:30", "to": "14:31", "zone": "UTC"}]
    h = hosted({"subscriptions": [{}], "cooldown_s": 0, "quiet": quiet})
    out = fired(h, (-1, "r1", "A"))
    identity = json.loads(out["alerts.user"]["body"][0])["id"]
    h.send("alerts", symbol=["A"], ts_ns=[T0], price=[1.0], rule_id=["r1"], rule_name=["R"],
           id=[identity], values=["{}"], kind=["withdrawn"], reason=["x"])  # fmt: skip
    out = h.send("alerts.clock", ts_ns=[T0 + 60 * SECOND_NS])
    assert [one[:4] for one in told(out)] == [("u0", "digest", "quiet", 1)]


def mixed(width: int) -> list[tuple[str, str]]:
    """What is said of alerts and withdrawals in frames of `width`."""
    h, draw = hosted(*PROFILES[:2]), np.random.default_rng(5)
    rows: list[tuple[str, int, str]] = []
    known: list[str] = []
    for number in range(60):
        if known and draw.random() < 0.4:
            rows.append((known.pop(int(draw.integers(len(known)))), number, "withdrawn"))
        else:
            known.append(f"{draw.choice(RULES)}-{draw.choice(SYMBOLS)}-{number}")
            rows.append((known[-1], number, "fired"))
    said = []
    for start in range(0, len(rows), width):
        ids, seconds, kinds = zip(*rows[start : start + width], strict=True)
        columns = {name: [one.split("-")[k] for one in ids] for k, name in enumerate(("rule_id", "symbol"))}  # fmt: skip
        columns |= {"id": list(ids), "kind": list(kinds), "rule_name": columns["rule_id"]}
        size = {name: [text] * len(ids) for name, text in (("values", "{}"), ("reason", ""))}
        ts_ns = [T0 + one * SECOND_NS for one in seconds]
        said += who(h.send("alerts", ts_ns=ts_ns, price=[1.0] * len(ids), **columns, **size))
    return said


def test_who_is_told_of_a_withdrawal_does_not_depend_on_the_cut() -> None:
    alone = mixed(1)
    assert alone.count(("u0", "withdrawn")) > 3
    assert mixed(3) == mixed(60) == alone


def test_only_the_newest_who_were_told_are_remembered() -> None:
    text = ""
    for first in range(0, 60_000, 1_000):
        some = range(first, first + 1_000)
        text = with_told(text, {f"alert {k}": ["u0", f"u{k}"] for k in some})
    assert KEPT_MAX - 100 < len(text) <= KEPT_MAX
    assert users_of(text, "alert 0") == []
    assert users_of(text, "alert 59999") == ["u0", "u59999"]
