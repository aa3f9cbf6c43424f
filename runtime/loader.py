"""From the files of `functions/` to a plan: which functions there are, what is wrong, what is hosted where."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from runtime.contract import Binding, ContractError, Declaration
from runtime.state import shapes_of
from runtime.subjects import Subjects

CHAIN_ARGUMENTS = ("state", "settings", "clock")
SINK_ARGUMENTS = ("settings", "kv", "http", "store")
COURIER_ARGUMENTS = ("channels", "outbound", "attempt")
SINK_BATCH_MAX = 256  # messages: what is not acknowledged yet lies in memory
CLOCK = "ticks.clock"

# What a function could only want in order to act or to look around; it gets what it needs by name.
FORBIDDEN_MODULES = frozenset(
    "asyncio aiohttp asyncpg concurrent ctypes http httpx importlib io logging multiprocessing nats os "
    "pathlib random redis requests runpy secrets select shutil signal socket ssl subprocess sys "
    "tempfile threading time urllib".split()
)
FORBIDDEN_CALLS = frozenset({"open", "eval", "exec", "input", "print", "__import__"})
WALL_CLOCK_CALLS = frozenset({"now", "utcnow", "today"})


@dataclass(frozen=True)
class Fault:
    """Something that keeps a function from being hosted."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True, eq=False)
class Hosted:
    """A function that loaded: its declaration, where it stands, its settings and version."""

    declaration: Declaration
    file: str
    line: int
    settings: Mapping[str, Any]
    version: str

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def reads(self) -> tuple[str, ...]:
        return self.declaration.reads

    @property
    def writes(self) -> tuple[str, ...]:
        return self.declaration.writes

    @property
    def row_bytes(self) -> int:
        """Bytes of state per symbol, families of columns not counted."""
        shapes = shapes_of(self.declaration)
        return sum(shape.row_bytes for name, shape in shapes.items() if not name.endswith(".*"))

    def asks_for(self, argument: str) -> bool:
        """Whether a handler takes an argument of this name."""
        return any(argument in binding.arguments for binding in self.declaration.bindings)

    def binding(self, subject: str) -> Binding | None:
        for binding in self.declaration.bindings:
            if binding.subject == subject:
                return binding
        return None


@dataclass(frozen=True, eq=False)
class ChainPlan:
    """Functions hosted together: one input stream, run in order, one worker per partition."""

    name: str
    stream: str
    functions: tuple[Hosted, ...]
    inputs: tuple[str, ...]  # base subjects read from the stream
    partitions: tuple[int | None, ...]  # (None,) for a chain that reads all partitions at once

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(base for hosted in self.functions for base in hosted.writes))

    @property
    def version(self) -> str:
        return _digest(*(f"{hosted.name}:{hosted.version}" for hosted in self.functions))

    @property
    def is_by_minute(self) -> bool:
        """Whether every function that knows event time says that only whole minutes of it matter."""
        return all(
            one.declaration.by_minute is not None and one.declaration.by_minute(one.settings)
            for one in self.functions
            if any(b.subject == CLOCK or "clock" in b.arguments for b in one.declaration.bindings)
        )

    def wire_inputs(self, subjects: Subjects, partition: int | None) -> list[str]:
        """The subjects a consumer of this chain filters on."""
        ending = "*" if partition is None else str(partition)
        names = dict.fromkeys([self.name, *(hosted.name for hosted in self.functions)])
        redrive = [f"redrive.{self.stream}.{name}.{ending}" for name in names]
        return subjects.input_subjects(self.stream, list(self.inputs), partition) + redrive


@dataclass(frozen=True)
class Plan:
    """Everything that can be hosted, and everything that cannot."""

    chains: tuple[ChainPlan, ...] = ()
    sinks: tuple[Hosted, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def functions(self) -> list[Hosted]:
        hosted = [hosted for chain in self.chains for hosted in chain.functions]
        return [*hosted, *self.sinks]

    def chain(self, name: str) -> ChainPlan | None:
        """The chain of this name, or the one that hosts a function of this name."""
        for chain in self.chains:
            if name == chain.name or any(hosted.name == name for hosted in chain.functions):
                return chain
        return None


@dataclass
class _Found:
    hosted: list[Hosted] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def load_plan(
    directory: Path, subjects: Subjects, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Plan:
    """Load every module of `directory` and plan its functions; faults are returned, not raised."""
    found = _Found()
    if not directory.is_dir():
        fault = Fault(
            str(directory), 1, "not a directory; set functions_dir to where functions are"
        )
        return Plan(faults=(fault,))
    vocabulary = _vocabulary_digest(directory)
    _forget(directory, vocabulary)
    for file in sorted(directory.glob("*.py")):
        if not file.name.startswith("_"):
            _load_file(file, vocabulary, overrides or {}, found)
    return plan_functions(_checked(found, subjects), subjects, found.faults)


def hosted_of(
    declaration: Declaration, settings: Mapping[str, Any] | None = None, version: str = "test"
) -> Hosted:
    """A declaration as if it had been loaded, for the test harness."""
    code = declaration.bindings[0].handler.__code__
    merged = {**declaration.settings, **(settings or {})}
    return Hosted(
        declaration, code.co_filename, code.co_firstlineno, MappingProxyType(merged), version
    )


def _load_file(
    file: Path, vocabulary: str, overrides: Mapping[str, Mapping[str, Any]], found: _Found
) -> None:
    try:
        source = file.read_text(encoding="utf-8")
        tree = ast.parse(source, filename=str(file))
    except SyntaxError as error:
        found.faults.append(Fault(str(file), error.lineno or 1, f"not Python: {error.msg}"))
        return
    except (OSError, UnicodeDecodeError) as error:
        found.faults.append(Fault(str(file), 1, f"cannot be read: {error}"))
        return
    is_sink = any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree))
    lint = [Fault(str(file), line, text) for line, text in _lint(tree, is_sink)]
    found.faults += lint
    if lint:
        return
    module = _import(file, found)
    if module is None:
        return
    declarations = [value for value in vars(module).values() if isinstance(value, Declaration)]
    if not declarations:
        found.faults.append(
            Fault(str(file), 1, "declares no function; decorate one with @function")
        )
    for declaration in declarations:
        _host(declaration, file, source, vocabulary, overrides, found)


def _import(file: Path, found: _Found) -> ModuleType | None:
    name = f"functions.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a stranger's module may raise anything
        frames = traceback.extract_tb(error.__traceback__)
        line = next((f.lineno for f in reversed(frames) if f.filename == str(file)), 1)
        found.faults.append(Fault(str(file), line or 1, f"{type(error).__name__}: {error}"))
        return None
    return module


def _host(
    declaration: Declaration,
    file: Path,
    source: str,
    vocabulary: str,
    overrides: Mapping[str, Mapping[str, Any]],
    found: _Found,
) -> None:
    line = _line_of(declaration)
    try:
        settings = _merged(declaration, overrides.get(declaration.name, {}))
        shapes_of(declaration)
        if declaration.checks is not None:
            declaration.checks(settings)
    except ContractError as error:
        found.faults.append(Fault(str(file), line, str(error)))
        return
    except ValueError as error:
        text = f"function {declaration.name}: setting {error}"
        found.faults.append(Fault(str(file), line, text))
        return
    version = _digest(source, vocabulary, json.dumps(dict(settings), sort_keys=True, default=str))
    found.hosted.append(Hosted(declaration, str(file), line, settings, version))


def _line_of(declaration: Declaration) -> int:
    if not declaration.bindings:
        return 1
    return declaration.bindings[0].handler.__code__.co_firstlineno


def _merged(declaration: Declaration, override: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in override.items():
        if name not in declaration.settings:
            raise ContractError(
                f"function {declaration.name}: no setting {name!r}; it has "
                f"{sorted(declaration.settings)}"
            )
        default = declaration.settings[name]
        if isinstance(default, bool) != isinstance(value, bool) or not isinstance(
            value, type(default) if not isinstance(default, float) else (int, float)
        ):
            raise ContractError(
                f"function {declaration.name}: setting {name}: expected "
                f"{type(default).__name__}, found {value!r}"
            )
    return MappingProxyType({**declaration.settings, **override})


# -- linting


def _lint(tree: ast.Module, is_sink: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _lint_import(node.lineno, alias.name, is_sink)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "relative import; name the vocabulary: from functions.market ..."
            else:
                yield from _lint_import(node.lineno, node.module or "", is_sink)
        elif isinstance(node, ast.Call):
            yield from _lint_call(node)
        elif isinstance(node, ast.Global):
            yield node.lineno, "`global`: what a function remembers belongs in its state"


def _lint_import(line: int, name: str, is_sink: bool) -> Iterator[tuple[int, str]]:
    top, _, rest = name.partition(".")
    if top == "runtime" and rest:
        yield line, f"imports {name}; functions import only the public names of `runtime`"
    elif top == "functions" and "." not in rest and not _is_vocabulary(rest):
        yield line, f"imports {name}; a function never imports another, read its subject instead"
    elif top in FORBIDDEN_MODULES and not (is_sink and top == "asyncio"):
        yield (
            line,
            (
                f"imports {name}; a function owns no clock, socket, file or environment: ask by name "
                f"for {', '.join(CHAIN_ARGUMENTS)} (a sink: {', '.join(SINK_ARGUMENTS)})"
            ),
        )


def _is_vocabulary(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(f"functions.{name}") if name else None
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.submodule_search_locations is not None


def _lint_call(node: ast.Call) -> Iterator[tuple[int, str]]:
    if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
        yield node.lineno, f"calls {node.func.id}(); functions only think, they return events"
    elif isinstance(node.func, ast.Attribute) and node.func.attr in WALL_CLOCK_CALLS:
        yield node.lineno, f"calls .{node.func.attr}(); time is data: ask for `clock`"


# -- checking against subjects.yaml


def _checked(found: _Found, subjects: Subjects) -> list[Hosted]:
    good: dict[str, Hosted] = {}
    for hosted in found.hosted:
        problems = list(_problems(hosted, subjects))
        if hosted.name in good:
            other = good[hosted.name]
            problems.append((hosted.line, f"function {hosted.name} stands in {other.file} as well"))
        found.faults += [Fault(hosted.file, line, text) for line, text in problems]
        if not problems:
            good[hosted.name] = hosted
    return list(good.values())


def _problems(hosted: Hosted, subjects: Subjects) -> Iterator[tuple[int, str]]:
    declaration, name = hosted.declaration, hosted.name
    if not declaration.bindings:
        yield hosted.line, f"function {name} has no handler; add one with @{name}.on(SUBJECT)"
    if not name.isidentifier():
        yield hosted.line, f"function {name!r}: expected a name of letters, digits and _"
    sinks = {binding.is_sink for binding in declaration.bindings}
    if sinks == {True, False}:
        yield hosted.line, f"function {name} mixes async and plain handlers; make it two functions"
    if True in sinks and declaration.state:
        yield hosted.line, f"sink {name} declares state; a sink keeps what it needs in kv"
    if declaration.at_once > 1 and not declaration.is_sink:
        yield hosted.line, f"function {name}: at_once is for sinks; a chain runs frame by frame"
    yield from _batch_problems(hosted)
    streams = {subjects.subjects[base].stream for base in hosted.reads if base in subjects.subjects}
    if True in sinks and len(streams) > 1:
        names = ", ".join(sorted(str(stream) for stream in streams))
        yield hosted.line, f"sink {name} reads the streams {names}; make it one sink for each"
    for base in declaration.writes:
        yield from _write_problems(hosted, base, subjects)
    for binding in declaration.bindings:
        yield from _binding_problems(hosted, binding, subjects)
    for binding in declaration.recollections:
        yield from _recollection_problems(hosted, binding, subjects)


def _batch_problems(hosted: Hosted) -> Iterator[tuple[int, str]]:
    """Frames are joined for sinks only, and for none whose answers carry the frame's number."""
    batch, name = hosted.declaration.batch, hosted.name
    if not 1 <= batch <= SINK_BATCH_MAX:
        yield hosted.line, f"function {name}: batch: expected 1 to {SINK_BATCH_MAX}, found {batch}"
    elif batch > 1 and (not hosted.declaration.is_sink or hosted.writes):
        yield hosted.line, f"function {name}: batch is for sinks that write no subject"


def _write_problems(hosted: Hosted, base: str, subjects: Subjects) -> Iterator[tuple[int, str]]:
    subject = subjects.subjects.get(base)
    if subject is None:
        writable = [n for n, s in subjects.subjects.items() if s.written_by == "functions"]
        yield (
            hosted.line,
            (
                f"function {hosted.name} writes {base}, which subjects.yaml does not name; functions may "
                f"write {', '.join(writable)}, or add it there"
            ),
        )
    elif subject.written_by != "functions":
        yield (
            hosted.line,
            f"function {hosted.name} writes {base}, which {subject.written_by} writes",
        )


def _binding_problems(
    hosted: Hosted, binding: Binding, subjects: Subjects
) -> Iterator[tuple[int, str]]:
    line = binding.handler.__code__.co_firstlineno
    subject = subjects.subjects.get(binding.subject)
    if subject is None:
        yield (
            line,
            (
                f"function {hosted.name} reads {binding.subject}, which subjects.yaml does not name; "
                f"it has {', '.join(subjects.subjects)}"
            ),
        )
        return
    asked: tuple[str, ...] = SINK_ARGUMENTS if binding.is_sink else CHAIN_ARGUMENTS
    asked += COURIER_ARGUMENTS if hosted.declaration.at_once > 1 else ()
    frames = {
        subjects.subjects[base].argument for base in hosted.reads if base in subjects.subjects
    }
    for argument in binding.arguments:
        if argument not in frames and argument not in asked:
            yield (
                line,
                (
                    f"function {hosted.name} asks for {argument!r}; it may ask for its frames "
                    f"({', '.join(sorted(frames))}) and for {', '.join(asked)}"
                ),
            )


def _recollection_problems(
    hosted: Hosted, binding: Binding, subjects: Subjects
) -> Iterator[tuple[int, str]]:
    line = binding.handler.__code__.co_firstlineno
    subject = subjects.subjects.get(binding.subject)
    if subject is None:
        return  # said of what it writes
    if not subject.rebuilds:
        told = [name for name, one in subjects.subjects.items() if one.rebuilds]
        text = f"only subjects marked `rebuilds` in subjects.yaml are kept for that: {told}"
        yield line, f"function {hosted.name} remembers {binding.subject}; {text}"
    unknown = set(binding.arguments) - {subject.argument, *CHAIN_ARGUMENTS}
    if unknown:
        allowed = ", ".join((subject.argument, *CHAIN_ARGUMENTS))
        yield line, f"function {hosted.name} asks for {sorted(unknown)}; it may ask for {allowed}"


# -- planning


def plan_functions(hosted: list[Hosted], subjects: Subjects, faults: list[Fault]) -> Plan:
    """Place functions in chains by what they read and write."""
    sinks, pure, faults = [], [], list(faults)
    for one in hosted:
        if one.declaration.is_sink:
            sinks.append(one)
        elif all(subjects.subjects[base].core for base in one.reads):
            faults.append(_without_order(one))
        else:
            pure.append(one)
    groups = _groups(pure, subjects, faults)
    chains = [_chain(name, members, subjects, faults) for name, members in groups.items()]
    faults += _second_writers([chain for chain in chains if chain], sinks)
    return Plan(
        tuple(chain for chain in chains if chain is not None),
        tuple(sinks),
        tuple(faults),
    )


def _without_order(one: Hosted) -> Fault:
    return Fault(
        one.file,
        one.line,
        f"function {one.name} reads {', '.join(one.reads)}, which no stream keeps: its state could not "
        "be restored; read a stored subject, or write an `async def`",
    )


def _groups(pure: list[Hosted], subjects: Subjects, faults: list[Fault]) -> dict[str, list[Hosted]]:
    by_name = {one.name: one for one in pure}
    groups = {
        chain: [by_name[name] for name in place.functions if name in by_name]
        for chain, place in subjects.chains.items()
    }
    placed = {one.name for members in groups.values() for one in members}
    for one in pure:
        if one.name in placed:
            continue
        wanted = _chains_needed(one, groups, subjects)
        if len(wanted) > 1:
            faults.append(
                Fault(
                    one.file,
                    one.line,
                    f"function {one.name} shares subjects with the chains {', '.join(wanted)}; "
                    "a subject has one writer: split the function",
                )
            )
            continue
        groups.setdefault(wanted[0] if wanted else one.name, []).append(one)
    return {name: members for name, members in groups.items() if members}


def _chains_needed(
    one: Hosted, groups: Mapping[str, list[Hosted]], subjects: Subjects
) -> list[str]:
    """Chains that write what it writes, or, if it reads several streams, write what it reads."""
    streams = {subjects.subjects[base].stream for base in one.reads}
    needs = set(one.writes) | (set(one.reads) if len(streams) > 1 else set())
    return [
        name
        for name, members in groups.items()
        if any(base in needs for member in members for base in member.writes)
    ]


def _chain(
    name: str, members: list[Hosted], subjects: Subjects, faults: list[Fault]
) -> ChainPlan | None:
    written = {base for one in members for base in one.writes}
    inputs = list(
        dict.fromkeys(base for one in members for base in one.reads if base not in written)
    )
    place = subjects.chains.get(name)
    streams = {subjects.subjects[base].stream for base in inputs}
    stream = place.input if place else next(iter(streams), None)
    wrong = [base for base in inputs if subjects.subjects[base].stream != stream]
    if stream is None or wrong:
        faults.extend(
            Fault(one.file, one.line, _two_streams(one, inputs, subjects))
            for one in members
            if stream is None or set(one.reads) & set(wrong)
        )
        return None
    if subjects.subjects[CLOCK].stream == stream:
        inputs = list(dict.fromkeys([*inputs, CLOCK]))
    elif any(
        "clock" in binding.arguments for one in members for binding in one.declaration.bindings
    ):
        asker = members[0]
        faults.append(
            Fault(
                asker.file, asker.line, f"chain {name} asks for `clock`, but {stream} has no clock"
            )
        )
        return None
    ordered = _in_order(name, members, faults)
    if ordered is None:
        return None
    whole = place is not None and place.partitions == 1
    partitions = (None,) if whole else tuple(range(subjects.partitions))
    return ChainPlan(name, stream, ordered, tuple(inputs), partitions)


def _two_streams(one: Hosted, inputs: list[str], subjects: Subjects) -> str:
    sources = ", ".join(f"{base} ({subjects.subjects[base].stream or 'core'})" for base in inputs)
    return (
        f"function {one.name}: its chain would read {sources}; a function with state reads one stream, "
        "so that its input has one order. Name it in `chains:` of subjects.yaml with the functions "
        "that write the other subjects"
    )


def _in_order(name: str, members: list[Hosted], faults: list[Fault]) -> tuple[Hosted, ...] | None:
    """Writers before readers; otherwise the order of subjects.yaml, then of names."""
    waiting, done = list(members), []
    while waiting:
        ready = next(
            (
                one
                for one in waiting
                if not any(
                    set(other.writes) & set(one.reads) for other in waiting if other is not one
                )
            ),
            None,
        )
        if ready is None or set(ready.writes) & set(ready.reads):
            names = ", ".join(one.name for one in waiting)
            faults.append(
                Fault(waiting[0].file, waiting[0].line, f"chain {name}: {names} feed each other")
            )
            return None
        waiting.remove(ready)
        done.append(ready)
    return tuple(done)


def _second_writers(chains: list[ChainPlan], others: list[Hosted]) -> list[Fault]:
    """A fenced subject has one writing chain; sinks may not write there."""
    owner: dict[str, str] = {}
    for chain in chains:
        for base in chain.writes:
            owner.setdefault(base, chain.name)
    clashes = [
        (one, base)
        for chain in chains
        for one in chain.functions
        for base in one.writes
        if owner[base] != chain.name
    ]
    clashes += [(one, base) for one in others for base in one.writes if base in owner]
    return [
        Fault(
            one.file,
            one.line,
            f"function {one.name} writes {base}, which chain {owner[base]} writes",
        )
        for one, base in clashes
    ]


# -- versions


def _vocabulary_digest(directory: Path) -> str:
    files = sorted(directory.glob("*/**/*.py"))
    return _digest(*(file.read_text(encoding="utf-8") for file in files))


def _digest(*texts: str) -> str:
    """Twelve hex letters that change when any of the texts does."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(text).to_bytes(8, "big") + text.encode())
    return digest.hexdigest()[:12]


# Folder -> digest of its vocabulary as this process imported it: two copies of one class are two classes.
_imported: dict[str, str] = {}


def _forget(directory: Path, digest: str) -> None:
    """Drop cached vocabulary modules if they changed, so that a saved change is what loads next."""
    inside = str(directory.resolve())
    if _imported.get(inside) == digest:
        return
    _imported[inside] = digest
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith("functions.") and file and str(Path(file).resolve()).startswith(inside):
            del sys.modules[name]
