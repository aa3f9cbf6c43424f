"""`jetscan new`: a module that runs, a test that passes, and a page to be filled in."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.loader import CLOCK, Plan
from runtime.subjects import Column, Subjects

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
WITHOUT_SYMBOL = ("control", "alerts.control", "alerts.clock", "ask.metrics", "ask.why")
STANDS_IN = {"price": "close"}  # written column -> read column
SAMPLES = {"f8": ("10.0", "11.0", "12.0"), "text": ("x", "y", "z")}  # other types: 1 2 3
FILLED_MAX = 88  # letters, in a line that is indented by twelve
TIMES, SYMBOLS = ("09:30:00", "09:30:00.5", "09:30:01"), ("A", "B", "A")


class ScaffoldError(ValueError):
    """The function cannot be begun like this; the text says what to change."""


@dataclass(frozen=True)
class Wanted:
    """A function that is to be begun."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def check(wanted: Wanted, subjects: Subjects, plan: Plan) -> None:
    """Raises ScaffoldError for what the loader would refuse, and for what is no beginning."""
    name = wanted.name
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ScaffoldError(
            f"{name}: expected a name of small letters, digits and _, such as surge"
        )
    for one in plan.functions:
        if one.name == name:
            raise ScaffoldError(
                f"{name}: there is one in {one.file}:{one.line}; choose another name"
            )
    if not wanted.reads:
        raise ScaffoldError("--reads: expected a subject, such as ticks.trades")
    for base in (*wanted.reads, *wanted.writes):
        if base not in subjects.subjects:
            raise ScaffoldError(
                f"{base}: no such subject; there are {', '.join(subjects.subjects)}"
            )
    for base in wanted.reads:
        if base in WITHOUT_SYMBOL:
            raise ScaffoldError(f"{base}: its events have no symbol; docs/functions-reference.md")
    for base in wanted.writes:
        if subjects.subjects[base].written_by != "functions":
            writer = subjects.subjects[base].written_by
            raise ScaffoldError(
                f"{base}: {writer} writes it; functions write {_writable(subjects)}"
            )
    if not wanted.writes and len(wanted.reads) > 1:
        raise ScaffoldError("without --writes it is a sink, and that reads one subject")


def _writable(subjects: Subjects) -> str:
    return ", ".join(
        name for name, one in subjects.subjects.items() if one.written_by == "functions"
    )


def files(wanted: Wanted, subjects: Subjects, plan: Plan, folder: Path) -> dict[Path, str]:
    """Module, test and page by their paths; `folder` holds the functions."""
    root, name = folder.parent, wanted.name
    is_sink = not wanted.writes
    module = _sink_module(wanted, subjects) if is_sink else _module(wanted, subjects)
    test = _sink_test(wanted, subjects) if is_sink else _test(wanted, subjects, plan)
    return {
        folder / f"{name}.py": module,
        root / "tests" / "functions" / f"test_{name}.py": test,
        root / "docs" / "functions" / f"{name}.md": _page(wanted, subjects),
    }


def begin(wanted: Wanted, subjects: Subjects, folder: Path, load: Callable[[], Plan]) -> list[Path]:
    """Write the files of a function and see that it is hosted; `load` plans what is in `folder`.

    Raises ScaffoldError, and leaves nothing behind, where the loader refuses it or a file is there already.
    """
    before = load()
    check(wanted, subjects, before)
    if (folder / wanted.name).is_dir() or wanted.name in subjects.chains:
        # A package hides a module of its name; commands that take either would not know which.
        raise ScaffoldError(f"{wanted.name}: a folder or a chain is called so; choose another name")
    texts = files(wanted, subjects, before, folder)
    there = [str(path) for path in texts if path.exists()]
    if there:
        raise ScaffoldError(f"{', '.join(there)}: is there already, and is left as it is")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    refused = [str(fault) for fault in load().faults if fault not in before.faults]
    if refused:
        for path in texts:
            path.unlink()
        raise ScaffoldError("\n".join(refused))
    return list(texts)


# -- the module


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _main(wanted: Wanted) -> str:
    """The subject whose events are answered."""
    return next((base for base in wanted.reads if base != CLOCK), CLOCK)


def _module(wanted: Wanted, subjects: Subjects) -> str:
    """A function that says every hundredth event of a symbol."""
    main = _main(wanted)
    is_alone = wanted.reads == (main,)
    lines = [f'"""{_title(wanted.name)}: say in a line what it finds."""', ""]
    if main != CLOCK:
        lines += ["import numpy as np", "", "from functions.market.running import add_volume"]
    lines += ["from runtime import Answer, Frame, Settings, State, function", "", ""]
    declared = [f"    writes={_quoted(wanted.writes)},", '    state={"count": "f8"},']
    declared += ['    settings={"every": 100},', ")"]
    if is_alone:
        lines += ["@function(", f"    reads={_quoted(wanted.reads)},", *declared]
        lines += _handler(wanted, main, wanted.name, subjects)
    else:
        lines += [f"{wanted.name} = function(", f'    "{wanted.name}",', *declared]
        for base in wanted.reads:
            lines += ["", "", f'@{wanted.name}.on("{base}")']
            lines += _handler(wanted, base, f"on_{subjects.subjects[base].argument}", subjects)
    return "\n".join(lines) + "\n"


def _handler(wanted: Wanted, base: str, name: str, subjects: Subjects) -> Iterator[str]:
    argument = subjects.subjects[base].argument
    kind = "int" if base == CLOCK else "Frame"
    yield f"def {name}({argument}: {kind}, state: State, settings: Settings) -> Answer:"
    if base == CLOCK:
        yield '    """Called for every second of event time; `clock` is it, ns since 1970."""'
        yield "    return None"
        return
    yield f'    """{_columns_told(base, subjects)}."""'
    if base != _main(wanted):
        yield "    return None"
        return
    yield f'    count = add_volume(state["count"], {argument}["row"], np.ones(len({argument})))'
    yield '    said = count % settings["every"] == 0'
    yield from _answered(wanted, base, argument, subjects)


def _columns_told(base: str, subjects: Subjects) -> str:
    columns = subjects.record_of(base).columns
    needed = [name for name, column in columns.items() if column.required]
    further = [name for name, column in columns.items() if not column.required]
    told = f"`{subjects.subjects[base].argument}` has row, symbol, {', '.join(needed)}"
    return told + (f"; where the feed tells: {', '.join(further)}" if further else "")


def _answered(wanted: Wanted, base: str, argument: str, subjects: Subjects) -> Iterator[str]:
    """The answer: the events themselves where they fit, else a column each."""
    answers = []
    for written in wanted.writes:
        columns = _needed(subjects, written)
        read = _needed(subjects, base)
        if all(name in read for name in columns):
            answers.append((written, [f"{argument}[said]"]))
            continue
        lines = ["{", f'    "row": {argument}["row"][said],']
        for name, column in columns.items():
            lines.append(f"    {_filled(name, column, argument, list(read))}")
        answers.append((written, [*lines, "}"]))
    if len(answers) == 1:
        first, *rest = answers[0][1]
        yield f"    return {first}"
        yield from (f"    {line}" for line in rest)
        return
    yield "    return {"
    for written, (first, *rest) in answers:
        yield f'        "{written}": {first}' + ("" if rest else ",")
        yield from (f"        {line}" + ("," if line == "}" else "") for line in rest)
    yield "    }"


def _needed(subjects: Subjects, base: str) -> dict[str, Column]:
    columns = subjects.record_of(base).columns
    return {name: column for name, column in columns.items() if column.required}


def _filled(name: str, column: Column, argument: str, read: list[str]) -> str:
    source = name if name in read else STANDS_IN.get(name, "")
    if source in read:
        return f'"{name}": {argument}["{source}"][said],'
    what = f"{column.unit}: {column.meaning}" if column.unit else column.meaning
    value = '["?"] * int(said.sum())' if column.type == "text" else "np.ones(int(said.sum()))"
    told = f'"{name}": {value},  # {what}'
    return told if len(told) <= FILLED_MAX else f'"{name}": {value},'


def _sink_module(wanted: Wanted, subjects: Subjects) -> str:
    """A sink that posts every event to an address."""
    base = wanted.reads[0]
    argument = subjects.subjects[base].argument
    has_id = "id" in subjects.record_of(base).columns
    key = f'str({argument}["id"][place])' if has_id else "f\"{symbol}-{event['ts_ns']}\""
    return f'''"""{_title(wanted.name)}: say in a line whom it tells what."""

from typing import Any

from runtime import Drop, Frame, Retry, Settings, function


@function(reads="{base}", settings={{"url": ""}})
async def {wanted.name}({argument}: Frame, settings: Settings, http: Any) -> None:
    """{_columns_told(base, subjects)}."""
    if not settings["url"]:
        return
    for place, symbol in enumerate({argument}["symbol"]):
        event = {{"symbol": symbol, "ts_ns": int({argument}["ts_ns"][place])}}
        key = {key}  # a crash delivers again
        answer = await http.post(settings["url"], json=event, headers={{"Idempotency-Key": key}})
        if answer.status_code >= 500:
            raise Retry(f"{{settings['url']}} answered {{answer.status_code}}", delay_s=5)
        if answer.status_code >= 400:
            raise Drop(f"{{settings['url']}} answered {{answer.status_code}}")
'''


def _quoted(names: Iterable[str]) -> str:
    listed = list(names)
    return json.dumps(listed[0] if len(listed) == 1 else listed)


# -- its test


def _table(base: str, subjects: Subjects) -> list[str]:
    """Three events of a subject as a table of text."""
    columns = {"time": TIMES, "symbol": SYMBOLS}
    for name, column in _needed(subjects, base).items():
        if name != "ts_ns":
            columns[name] = SAMPLES.get(column.type, ("1", "2", "3"))
    if "ts_ns" not in subjects.record_of(base).columns:
        del columns["time"]
    widths = [max(len(name), *map(len, cells)) for name, cells in columns.items()]
    rows = [list(columns), *map(list, zip(*columns.values(), strict=True))]
    return ["    " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _test(wanted: Wanted, subjects: Subjects, plan: Plan) -> str:
    name, main = wanted.name, _main(wanted)
    writers = _writers(wanted, subjects, plan)
    hosted = ", ".join([*(writer for _, writer in writers), name])
    lines = [f'"""{_title(name)}, held to literal events."""', ""]
    lines += [f"from functions.{module} import {writer}" for module, writer in writers]
    lines += [f"from functions.{name} import {name}"]
    if main == CLOCK:
        lines += ["from runtime.testing import Harness, ns", "", ""]
        lines += ["def test_nothing_is_said_yet():", f"    harness = Harness({hosted})"]
        lines += [
            '    assert harness.clock(ns("09:30:00")) == {}',
            "    assert harness.advance(60) == {}",
        ]
        return "\n".join(lines) + "\n"
    written = wanted.writes[0]
    lines += ["from runtime.testing import Harness, any_crash, any_cut", ""]
    lines += ['EVENTS = """', *_table(main, subjects), '"""']
    lines += [f'EVERY_SECOND = {{"{name}": {{"every": 2}}}}', "", ""]
    lines += ["def test_every_second_event_of_a_symbol_is_said():"]
    lines += [f'    out = Harness({hosted}, settings=EVERY_SECOND).send("{main}", EVENTS)']
    lines += [f'    assert out["{written}"]["symbol"].tolist() == ["A"]', "", ""]
    lines += ["def test_neither_cuts_nor_crashes_change_what_is_said():"]
    lines += [f'    events = [("{main}", EVENTS)]']
    for check_name in ("any_cut", "any_crash"):
        lines += [f"    {check_name}({hosted}, events=events, settings=EVERY_SECOND)"]
    return "\n".join(lines) + "\n"


def _writers(wanted: Wanted, subjects: Subjects, plan: Plan) -> list[tuple[str, str]]:
    """(module, function) of those without whom it would read several streams."""
    streams = {subjects.subjects[base].stream for base in wanted.reads}
    if len(streams) < 2:
        return []
    found = {
        (Path(one.file).stem, one.name)
        for one in plan.functions
        if not one.declaration.is_sink and set(one.writes) & set(wanted.reads)
    }
    return sorted(found)


def _sink_test(wanted: Wanted, subjects: Subjects) -> str:
    name, base = wanted.name, wanted.reads[0]
    table = "\n".join(_table(base, subjects))
    return f'''"""{_title(name)}, held to servers that answer from memory."""

import httpx
import pytest

from functions.{name} import {name}
from runtime import Drop, Retry
from runtime.testing import SinkHarness

EVENTS = """
{table}
"""
URL = {{"url": "http://example.test/"}}


def answering(status, seen):
    def answer(request):
        seen.append(request.headers["Idempotency-Key"])
        return httpx.Response(status)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_what_is_delivered_twice_has_the_same_keys():
    seen = []
    async with answering(200, seen) as http:
        sink = SinkHarness({name}, settings=URL, http=http)
        await sink.deliver("{base}", EVENTS)
        await sink.redeliver()
    assert len(seen) == 6
    assert seen[:3] == seen[3:]


@pytest.mark.parametrize(("status", "raised"), [(503, Retry), (404, Drop)])
async def test_a_server_that_fails_is_asked_again_and_one_that_refuses_is_not(status, raised):
    async with answering(status, []) as http:
        with pytest.raises(raised):
            await SinkHarness({name}, settings=URL, http=http).deliver("{base}", EVENTS)
'''


# -- its page


def _page(wanted: Wanted, subjects: Subjects) -> str:
    """What a reader asks first; the author fills in the rest."""
    title = _title(wanted.name)
    if not wanted.writes:
        settings = "| `url` | empty | where events are posted; empty: nowhere |"
    else:
        settings = "| `every` | 100 | says every so many events of a symbol |"
    read = "; ".join(f"`{base}`: {_columns_told(base, subjects)}" for base in wanted.reads)
    written = ", ".join(f"`{base}`" for base in wanted.writes) or "nothing: it is a sink"
    return f"""# {title}

Say in a sentence what it finds and for whom.

| it | |
|---|---|
| reads | {read} |
| writes | {written} |

| setting | default | meaning |
|---|---|---|
{settings}

Say what it does not find: halts, gaps, the first minutes of a session, symbols that seldom trade.
"""
