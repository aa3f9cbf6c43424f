"""What each part of a deployment may say and hear on NATS, from what its functions declare, and nothing else.

    user        who
    <chain>     workers of a chain: its input, its outputs, its snapshots, its ownership
    <file>      workers of the sinks of a file: their consumers, what they publish
    worker      workers that host anything, functions that come later among them
    ingest      feeds
    gateway     REST, the WebSocket, the page
    provision   streams and buckets, without their content
    probe       trades of the probe's own symbol, nothing else
    operator    people with the command line: everything

What NATS cannot tell apart is allowed as a whole: a stream is read whole or not at all, and who may
purge a part of a bucket may purge all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from runtime.credentials import INBOX
from runtime.exports.parts import Part, consumers_of, parts_of
from runtime.feed_health import SUBJECT as FEEDS
from runtime.loader import Plan
from runtime.ownership import unit_key
from runtime.probe import SUBJECT as PROBED
from runtime.provision import wanted_streams
from runtime.subjects import Subjects
from runtime.universe import SUBJECT as UNIVERSE

API = "$JS.API"
STATUS = "runtime.status"
DEAD = "DEAD"
MARKET = "MARKET"
RESPONSE_S = 10  # that an answer to a question may take
HOSTS_ANYTHING = "worker"


@dataclass
class User:
    """One user and what it may do; what is denied is so although a pattern allows it."""

    name: str
    publish: set[str] = field(default_factory=set)
    deny_publish: set[str] = field(default_factory=set)
    subscribe: set[str] = field(default_factory=set)
    answers: bool = False

    def told(self) -> dict[str, Any]:
        """As nats-server's configuration has it."""
        publish: dict[str, Any] = {"allow": sorted(self.publish)}
        if self.deny_publish:
            publish["deny"] = sorted(self.deny_publish)
        told: dict[str, Any] = {
            "publish": publish,
            "subscribe": {"allow": sorted(self.subscribe)},
        }
        if self.answers:
            told["allow_responses"] = {"max": 1, "expires": f"{RESPONSE_S}s"}
        return told


def users_of(plan: Plan, subjects: Subjects) -> dict[str, User]:
    """Every user of a deployment of these functions, by name."""
    parts = parts_of(plan)
    streams = {base: one.stream or "" for base, one in subjects.subjects.items()}
    durables = {
        f"{stream}.{name}" for part in parts for stream, name in consumers_of(part, streams)
    }
    users = [_hosting(part, subjects, durables) for part in parts]
    users += [_hosting_anything(users, subjects), _ingest(subjects)]
    users += [_gateway(subjects, durables), _provision(subjects), _probe()]
    users.append(User("operator", {">"}, set(), {">"}))
    return {user.name: user for user in users}


def permissions_of(plan: Plan, subjects: Subjects) -> dict[str, dict[str, Any]]:
    """The same as plain data, by user."""
    return {name: user.told() for name, user in users_of(plan, subjects).items()}


def configuration(permissions: dict[str, dict[str, Any]]) -> str:
    """The permissions as a part of nats-server's configuration; passwords come from its environment."""
    lines = ["authorization {", "  users: ["]
    for name, told in permissions.items():
        lines.append(f"    {{ user: {name}, password: ${password_variable(name)}, permissions: {{")
        for kind in ("publish", "subscribe"):
            for rule, patterns in told[kind].items():
                lines.append(
                    f"      {kind}: {{ {rule}: [" if rule == "allow" else f"        {rule}: ["
                )
                lines += [f'        "{one}"' for one in patterns]
                lines.append("      ]")
            lines.append("      }")
        if "allow_responses" in told:
            lines.append(f"      allow_responses: {{ max: 1, expires: {RESPONSE_S}s }}")
        lines.append("    } }")
    return "\n".join([*lines, "  ]", "}", ""])


def password_variable(user: str) -> str:
    """The environment variable of nats-server that has a user's password."""
    return f"NATS_PASSWORD_{user.upper().replace('-', '_')}"


# -- who


def _new(name: str) -> User:
    return User(name, subscribe={f"{INBOX}.{name}.>"})


def _worker(name: str) -> User:
    """What every worker does: be there, answer probes, see who owns what and what is paused."""
    user = _new(name)
    user.answers = True
    user.publish |= {"runtime.who", "runtime.members", "runtime.alive.*"}
    user.subscribe |= {"runtime.who", "runtime.members", "runtime.alive.*", STATUS}
    for bucket in ("owners", "functions"):
        _reads_bucket(user, bucket)
        _hears_bucket(user, bucket)
    return user


def _hosting(part: Part, subjects: Subjects, durables: set[str]) -> User:
    user = _worker(part.name)
    streams = {base: one.stream or "" for base, one in subjects.subjects.items()}
    own = consumers_of(part, streams)
    for stream, name in own:
        _pulls(user, stream, name)
    for name in dict.fromkeys(one.name for one in part.functions):
        user.publish |= set(_dead_letters(part, name))
    if part.chain is None:
        for base in dict.fromkeys(base for one in part.sinks for base in one.writes):
            user.publish.add(subjects.wire(base, 0))
        if part.asks_for("kv"):
            _writes_bucket(user, "functions", ">")
        if part.asks_for("channels"):
            _reads_bucket(user, "channels")
        return user
    chain = part.chain
    user.publish |= set(_dead_letters(part, chain.name))
    _reads_stream(user, chain.stream)
    _reads_stream(user, DEAD)
    for base in chain.writes:
        subject = subjects.subjects[base]
        for partition in chain.partitions:
            user.publish |= set(subjects.outputs(base, partition))
        if subject.stream:
            _reads_stream(user, subject.stream)
        if subject.bucket:
            _writes_bucket(user, subject.bucket, ">")
            _purges_bucket(user, subject.bucket)
    _reads_bucket(user, "snapshots")
    _purges_bucket(user, "snapshots")
    for partition in chain.partitions:
        key = unit_key((chain.name, partition))
        _writes_bucket(user, "owners", key)
        _writes_bucket(user, "functions", f"suspect.{key}")
        _writes_bucket(user, "snapshots", key, f"{key}.>")
    _leaves_others(user, durables - {f"{stream}.{name}" for stream, name in own})
    return user


def _hosting_anything(hosting: Iterable[User], subjects: Subjects) -> User:
    """All that any worker may, and what functions that are not known yet will want."""
    user = _worker(HOSTS_ANYTHING)
    for one in hosting:
        inboxes = {pattern for pattern in one.subscribe if pattern.startswith(INBOX)}
        user.publish |= one.publish
        user.subscribe |= one.subscribe - inboxes
    for stream in subjects.streams:
        _reads_stream(user, stream)
        user.publish |= set(_durable(stream, "*"))
    for base, subject in subjects.subjects.items():
        if subject.written_by == "functions":
            user.publish.add(_pattern(base, subjects))
    user.publish.add("dead.>")
    _reads_bucket(user, "channels")
    for bucket in ("owners", "functions", "snapshots"):
        _writes_bucket(user, bucket, ">")
    return user


def _ingest(subjects: Subjects) -> User:
    user = _new("ingest")
    user.answers = True
    user.publish |= set(_written_by("ingest", subjects)) | {FEEDS, f"{API}.DIRECT.GET.{MARKET}"}
    user.subscribe.add(UNIVERSE)
    _reads_bucket(user, "universe")
    _hears_bucket(user, "universe")
    return user


def _gateway(subjects: Subjects, durables: set[str]) -> User:
    user = _new("gateway")
    user.publish |= set(_written_by("gateway", subjects)) | {STATUS, UNIVERSE}
    user.subscribe.add(FEEDS)
    for base, subject in subjects.subjects.items():
        if subject.core:
            user.subscribe.add(_pattern(base, subjects))
    for stream in subjects.streams:
        _reads_stream(user, stream)
        user.publish |= {f"{API}.CONSUMER.LIST.{stream}", f"redrive.{stream}.>"}
    user.publish.add(f"{API}.STREAM.MSG.DELETE.{DEAD}")
    for bucket in subjects.buckets:
        user.publish.add(f"{API}.STREAM.INFO.KV_{bucket}")
    for bucket in ("rules", "channels", "profiles", "toplists", "livebars"):
        _reads_bucket(user, bucket)
    for bucket in ("functions", "universe", "owners"):
        _reads_bucket(user, bucket)
    for bucket in ("rules", "channels", "profiles", "universe"):
        _writes_bucket(user, bucket, ">")
    _writes_bucket(user, "functions", "pause.>")
    _hears_bucket(user, "rules")
    _purges_bucket(user, "channels")
    _leaves_others(user, durables)
    return user


def _provision(subjects: Subjects) -> User:
    user = _new("provision")
    for name in wanted_streams(subjects):
        user.publish |= {f"{API}.STREAM.{verb}.{name}" for verb in ("INFO", "CREATE", "UPDATE")}
    return user


def _probe() -> User:
    user = _new("probe")
    user.publish.add(PROBED)
    return user


# -- what


def _written_by(writer: str, subjects: Subjects) -> Iterator[str]:
    for base, subject in subjects.subjects.items():
        if subject.written_by == writer:
            yield _pattern(base, subjects)


def _pattern(base: str, subjects: Subjects) -> str:
    return f"{base}.*" if subjects.subjects[base].partitioned else base


def _dead_letters(part: Part, name: str) -> Iterator[str]:
    for partition in part.chain.partitions if part.chain else (None,):
        yield f"dead.{name}.{'all' if partition is None else partition}"


def _reads_stream(user: User, stream: str) -> None:
    """Any message of a stream, its state, and a reader of its own, that the server names."""
    user.publish |= {f"{API}.STREAM.{verb}.{stream}" for verb in ("INFO", "MSG.GET")}
    user.publish |= {f"{API}.DIRECT.GET.{stream}", f"{API}.CONSUMER.CREATE.{stream}"}
    user.publish |= {f"{API}.CONSUMER.{verb}.{stream}.*" for verb in ("INFO", "MSG.NEXT")}


def _leaves_others(user: User, durables: set[str]) -> None:
    """A reader's name is the server's; durables have names of ours, so those of others can be denied."""
    for name in durables:
        if f"{API}.CONSUMER.MSG.NEXT.{name.partition('.')[0]}.*" in user.publish:
            user.deny_publish.add(f"{API}.CONSUMER.MSG.NEXT.{name}")


def _pulls(user: User, stream: str, name: str) -> None:
    user.publish |= set(_durable(stream, name))


def _durable(stream: str, name: str) -> Iterator[str]:
    """Make, move and read one durable, and acknowledge what it delivers."""
    for verb in ("CREATE", "INFO", "MSG.NEXT", "UNPIN", "RESET"):
        yield f"{API}.CONSUMER.{verb}.{stream}.{name}"
    yield f"$JS.ACK.{stream}.{name}.>"


def _reads_bucket(user: User, bucket: str) -> None:
    user.publish |= {f"{API}.STREAM.{verb}.KV_{bucket}" for verb in ("INFO", "MSG.GET")}
    user.publish |= {f"{API}.DIRECT.GET.KV_{bucket}", f"{API}.DIRECT.GET.KV_{bucket}.>"}


def _hears_bucket(user: User, bucket: str) -> None:
    user.subscribe.add(f"$KV.{bucket}.>")


def _writes_bucket(user: User, bucket: str, *keys: str) -> None:
    user.publish |= {f"$KV.{bucket}.{key}" for key in keys}


def _purges_bucket(user: User, bucket: str) -> None:
    user.publish.add(f"{API}.STREAM.PURGE.KV_{bucket}")
