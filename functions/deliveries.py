"""Who is told of which alert: subscriptions, mutes, cooldowns, quiet hours, and digests in a storm.

Every alert is in `alerts.filtered`, whoever is told. From there, for each user:

    wanted      a subscription names its rule and symbol, and no mute does
    cooldown    the user was not told of this rule on this symbol within the cooldown
    quiet       in quiet hours it is counted; a digest says so when they end
    budget      the first alerts of a window are told one by one, the others in one digest

What amends or withdraws an alert goes to those who were told of it one by one, in quiet hours into
their digest; it takes nothing of a cooldown or a budget. A withdrawal ends the cooldown that its alert
began, or the true alert that follows would be silent.

All by event time. Windows and digests follow the newest alert's time; `alerts.clock` says the digests
that are due when no alert comes.
"""

import json

import numpy as np

from functions.users import desk, told
from functions.users.cooldowns import Cooldowns, hash_of, keys_of
from functions.users.matches import Matches
from functions.users.profiles import NAME, USERS_MAX, check_profile, profile_of
from runtime import Drop, function

NONE = np.zeros(0, dtype=np.int64)

deliveries = function(
    "deliveries",
    writes=["alerts.user", "alerts.outbox"],
    state={
        "profiles": "text",  # JSON: user -> [version, body]; no body: the user is gone
        "heard_ns": "text",  # the newest alert's time
        "cooled": "text",  # see functions/users/cooldowns.py
        "open": "text",  # JSON: user -> what is open at the user's desk, functions/users/desk.py
        "told": "text",  # who was told of which alert, see functions/users/told.py
    },
    carry="keep",
    accepts={"alerts.control": check_profile},
)


@deliveries.on("alerts.control")
def change_profiles(profiles, state):
    known, open_ = loaded(state["profiles"]), loaded(state["open"])
    columns = profiles["version"].tolist(), profiles["user"], profiles["body"]
    for version, user, body in zip(*columns, strict=True):
        if not NAME.fullmatch(user):
            raise Drop(f"user: expected 1 to 64 letters, digits, - and _, found {user!r:.80}")
        if version <= known.get(user, [0])[0]:
            continue
        if body:
            profile_of(body)
        else:
            open_.pop(user, None)
        known[user] = [version, body]
        if sum(1 for _, one in known.values() if one) > USERS_MAX:
            raise Drop(f"user {user}: at most {USERS_MAX} users")
    state["profiles"] = json.dumps(known)
    state["open"] = json.dumps(open_)


def loaded(text):
    return json.loads(text) if text else {}


def profiles_of(text):
    """The profile of every user, in the order of their names."""
    known = loaded(text)
    return {user: profile_of(known[user][1]) for user in sorted(known) if known[user][1]}


@deliveries.on("alerts.filtered")
def decide(filtered, state):
    heard_ns = np.maximum(filtered["ts_ns"], int(state["heard_ns"] or 0))
    heard_ns = np.maximum.accumulate(heard_ns)
    state["heard_ns"] = str(heard_ns[-1])
    profiles, open_ = profiles_of(state["profiles"]), loaded(state["open"])
    if not profiles:
        return None
    matches = Matches(filtered, heard_ns)
    free = admitted(matches, profiles, state)
    follows = np.flatnonzero(matches.follows)
    told_before = told_of(matches, follows, state["told"])
    said = []
    for number, (user, profile) in enumerate(profiles.items()):
        if user not in free and user not in open_ and not len(follows):
            continue
        mine = desk.Desk(user, profile, open_.pop(user, None), matches)
        mine.told |= told_before.get(user, set())
        mine.take(np.sort(np.concatenate([free.get(user, NONE), follows])))
        said += [(place, number, delivery) for place, delivery in mine.said]
        if mine.is_needed():
            open_[user] = mine.open
    state["open"] = json.dumps(open_)
    said.sort(key=lambda one: one[:2])  # what one user is told stays in its order
    state["told"] = told.with_told(state["told"], told_now(matches, said))
    return outputs([delivery for _, _, delivery in said], profiles)


def told_of(matches, follows, text):
    """User -> the ids of alerts that are amended or withdrawn and that the user was told of."""
    found = {}
    for alert_id in {matches.frame["id"][place] for place in follows.tolist()}:
        for user in told.users_of(text, alert_id):
            found.setdefault(user, set()).add(alert_id)
    return found


def told_now(matches, said):
    """Alert id -> the users who are told of it one by one, in order."""
    found = {}
    for place, _, delivery in said:
        if delivery["kind"] == "alert":
            found.setdefault(matches.frame["id"][place], []).append(delivery["user"])
    return found


def admitted(matches, profiles, state):
    """The places of the alerts that each user wants and was not told of within the cooldown."""
    gone = matches.frame["kind"] == "withdrawn" if "kind" in matches.frame else matches.follows
    withdrawn = np.flatnonzero(gone)
    wanted = {
        user: np.sort(np.concatenate([wanted_places(matches, profile), withdrawn]))
        for user, profile in profiles.items()
    }
    users = [user for user, places in wanted.items() if len(places)]
    if not users:
        return {}
    owner = np.repeat(np.arange(len(users)), [len(wanted[user]) for user in users])
    place = np.concatenate([wanted[user] for user in users])
    rule, symbol = (hashes(pair[side] for pair in matches.pairs)[matches.pair] for side in (0, 1))
    keys = keys_of(hashes(users)[owner], rule[place], symbol[place])
    cooldown_ns = np.array([profiles[user].cooldown_ns for user in users])[owner]
    cooldowns = Cooldowns(state["cooled"])
    alert = hashes(matches.frame["id"].tolist())[place]
    is_free = cooldowns.admit(
        keys, matches.ts_ns[place], matches.heard_ns[place], cooldown_ns, alert, gone[place]
    )
    state["cooled"] = cooldowns.text()
    ends = np.cumsum([len(wanted[user]) for user in users])[:-1]
    split = zip(np.split(place, ends), np.split(is_free, ends), strict=True)
    return {user: some[free] for user, (some, free) in zip(users, split, strict=True)}


def hashes(names):
    return np.array([hash_of(name) for name in names], dtype=np.uint64)


def wanted_places(matches, profile):
    """The places of the alerts that a profile's subscriptions want and its mutes allow."""
    places = np.flatnonzero(profile.wants(matches.pairs)[matches.pair] & ~matches.follows)
    if profile.mutes and len(places):
        until_ns = np.array([profile.muted_until_ns(*pair) for pair in matches.pairs])
        places = places[matches.ts_ns[places] >= until_ns[matches.pair[places]]]
    return places


@deliveries.on("alerts.clock")
def close(moments, state):
    """Say the digests that are due; forget the cooldowns that are over."""
    profiles, open_ = profiles_of(state["profiles"]), loaded(state["open"])
    said = []
    for clock_ns in moments["ts_ns"].tolist():
        for user in sorted(open_):
            said += desk.due(open_[user], user, clock_ns)
    if said:
        state["open"] = json.dumps(open_)
    if state["cooled"]:
        cooldowns = Cooldowns(state["cooled"])
        cooldowns.forget(int(state["heard_ns"]))
        cooldowns.limit()
        state["cooled"] = cooldowns.text()
    return outputs(said, profiles)


def outputs(said, profiles):
    """Deliveries for the gateway in one frame, and for each channel in a message of its own."""
    if not said:
        return None
    sent = [
        {name: [value] for name, value in {**delivery, "channel": channel}.items()}
        for delivery in said
        for channel in profiles[delivery["user"]].channels
    ]
    user = {name: [delivery[name] for delivery in said] for name in said[0]}
    return {"alerts.user": user, "alerts.outbox": sent}
