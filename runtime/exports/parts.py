"""The parts of a deployment that host functions: one for each chain, one for each file of sinks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.loader import ChainPlan, Hosted, Plan
from runtime.ownership import consumer_of
from runtime.sinks import consumer_of as sink_consumer_of

# Other parts of a deployment: names of Deployments and of users, which functions must not take.
RESERVED = frozenset({"defaults", "gateway", "ingest", "migrate", "nats", "operator"})
RESERVED |= {"probe", "provision", "setup", "sources", "test", "worker"}


@dataclass(frozen=True)
class Part:
    """What one Deployment hosts: a chain, or sinks that stand in one file."""

    name: str
    chain: ChainPlan | None = None
    sinks: tuple[Hosted, ...] = ()

    @property
    def hosts(self) -> list[str]:
        """What `jetscan run` is told to host."""
        return [self.chain.name] if self.chain else [one.name for one in self.sinks]

    @property
    def functions(self) -> tuple[Hosted, ...]:
        return self.chain.functions if self.chain else self.sinks

    @property
    def partitions(self) -> int:
        """As many workers can share the work; 0 for sinks, whose replicas share their consumers."""
        return len(self.chain.partitions) if self.chain else 0

    def asks_for(self, argument: str) -> bool:
        """Whether any of its functions takes an argument of this name."""
        return any(one.asks_for(argument) for one in self.functions)


def parts_of(plan: Plan) -> list[Part]:
    """Every part: chains first, then files of sinks by name."""
    files: dict[str, list[Hosted]] = {}
    for one in plan.sinks:
        files.setdefault(Path(one.file).stem, []).append(one)
    chains = [
        Part(f"{chain.name}_chain" if chain.name in RESERVED else chain.name, chain)
        for chain in plan.chains
    ]
    taken = RESERVED | {part.name for part in chains}
    sinks = [
        Part(f"{name}_sinks" if name in taken else name, None, tuple(hosted))
        for name, hosted in sorted(files.items())
    ]
    return chains + sinks


def consumers_of(part: Part, streams: dict[str, str]) -> list[tuple[str, str]]:
    """(stream, durable) of everything the part is fed from; `streams` by base subject."""
    if part.chain:
        chain = part.chain
        return [(chain.stream, consumer_of((chain.name, one))) for one in chain.partitions]
    return [(streams[one.reads[0]], sink_consumer_of(one.name)) for one in part.sinks]
