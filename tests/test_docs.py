"""What the documents say is run: code, commands, settings, subjects, the tree and the links."""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import inspect
import itertools
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest

from runtime.chain import Chain
from runtime.cli import main
from runtime.config import FILES, PREFIX, Settings
from runtime.contract import Declaration
from runtime.frames import Frame, decode
from runtime.loader import load_plan
from runtime.outbound import signature
from runtime.state import StateChanged
from runtime.subjects import load_subjects
from runtime.testing import Harness

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
FUNCTIONS_MD = ROOT / "docs" / "functions-reference.md"
SUBJECTS = load_subjects(ROOT / "subjects.yaml")
NOT_IN_THE_TREE = {"build", "dist"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its first word, what follows it on that line, and its text."""

    document: Path
    line: int
    language: str
    label: str
    text: str

    @property
    def file(self) -> str:
        return self.label.removeprefix("file=") if self.label.startswith("file=") else ""


def blocks_of(document: Path) -> list[Block]:
    found, lines, begun = [], document.read_text(encoding="utf-8").splitlines(), -1
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if begun < 0:
            begun = number
            continue
        language, _, label = lines[begun][3:].partition(" ")
        text = "\n".join(lines[begun + 1 : number]) + "\n"
        found.append(Block(document, begun + 1, language, label, text))
        begun = -1
    return found


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
TUTORIAL = ROOT / "docs" / "functions.md"  # done in order, by tests/test_tutorial.py
FILE_BLOCKS = [block for block in BLOCKS if block.file and block.document != TUTORIAL]
FUNCTION_BLOCKS = [block for block in FILE_BLOCKS if block.file.startswith("functions/")]
TEST_BLOCKS = [block for block in FILE_BLOCKS if block.file.startswith("tests/")]


def named(block: Block) -> str:
    return f"{block.document.name}:{block.line}"


@pytest.fixture
def documented(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes the functions of one document importable as `functions.NAME`, in their first version."""

    def install(document: Path) -> dict[str, ModuleType]:
        modules: dict[str, ModuleType] = {}
        for block in FUNCTION_BLOCKS:
            if block.document == document and Path(block.file).stem not in modules:
                modules[Path(block.file).stem] = module_of(block, tmp_path)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, f"functions.{name}", module)
        return modules

    return install


def module_of(block: Block, folder: Path) -> ModuleType:
    file = folder / f"{Path(block.file).stem}_{block.line}.py"
    file.write_text(block.text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- code


@pytest.mark.parametrize("document", sorted({block.document for block in FUNCTION_BLOCKS}))
def test_functions_in_documents_load_beside_the_real_ones(document: Path, tmp_path: Path) -> None:
    for file in (ROOT / "functions").glob("*.py"):
        shutil.copy(file, tmp_path)
    for block in FUNCTION_BLOCKS:
        if block.document == document:
            (tmp_path / Path(block.file).name).write_text(block.text, encoding="utf-8")
    plan = load_plan(tmp_path, SUBJECTS)
    assert [str(fault) for fault in plan.faults] == []
    hosted = {one.name for one in plan.functions}
    assert {
        Path(block.file).stem for block in FUNCTION_BLOCKS if block.document == document
    } <= hosted


@pytest.mark.parametrize("block", TEST_BLOCKS, ids=named)
def test_tests_in_documents_pass(block: Block, documented: Any, tmp_path: Path) -> None:
    documented(block.document)
    module = module_of(block, tmp_path)
    tests = {name: test for name, test in vars(module).items() if name.startswith("test_")}
    assert tests, f"{named(block)} holds no test"
    for test in tests.values():
        result = test()
        if inspect.iscoroutine(result):
            asyncio.run(result)


def test_every_function_of_the_guide_is_tested_in_it_or_is_the_smallest() -> None:
    functions = {Path(block.file).stem for block in FUNCTION_BLOCKS}
    tested = {Path(block.file).stem.removeprefix("test_") for block in TEST_BLOCKS}
    assert functions - tested == {"block_trade"}


def test_the_smallest_function_of_the_guide_answers_with_the_block(documented: Any) -> None:
    block_trade = documented(FUNCTIONS_MD)["block_trade"].block_trade
    trades = {"symbol": ["A", "B"], "ts_ns": [1, 2], "price": [5.0, 6.0], "size": [9_999.0, 1e4]}
    out = Harness(block_trade).send("ticks.trades", **trades)
    assert out["alerts"]["symbol"].tolist() == ["B"]
    assert (
        Harness(block_trade).send("ticks.trades", symbol=["A"], ts_ns=[1], price=[5.0], size=[1.0])
        == {}
    )


def test_a_second_version_that_keeps_its_state_goes_on_with_it(tmp_path: Path) -> None:
    first, second = (
        vars(module_of(block, tmp_path))["breakout"]
        for block in FUNCTION_BLOCKS
        if block.document == FUNCTIONS_MD and block.file == "functions/breakout.py"
    )
    harness = Harness(first)
    harness.send("ticks.trades", symbol=["A"], ts_ns=[1], price=[10.0], size=[1.0])
    table = carried_over(harness, second).table("breakout")
    assert table["high"].tolist() == [10.0]
    assert table["count"].tolist() == [0]
    second.carry = "clean"
    assert carried_over(harness, second).table("breakout")["high"].tolist() == [0.0]
    second.carry = lambda columns, version: {"high": columns["high"] * version}
    assert carried_over(harness, second).table("breakout")["high"].tolist() == [10.0]
    second.carry = None
    with pytest.raises(StateChanged, match="say carry="):
        carried_over(harness, second)


def carried_over(harness: Harness, later: Declaration) -> Chain:
    snapshot = harness.chain.snapshot()
    chain = Chain(Harness(later).plan, SUBJECTS, 0)
    chain.restore(snapshot.meta, {snapshot.blob_id: snapshot.blob})
    return chain


def wrong_blocks() -> Iterator[tuple[Block, Block]]:
    for block, following in itertools.pairwise(BLOCKS):
        if block.label == "wrong":
            yield block, following


@pytest.mark.parametrize(("code", "message"), list(wrong_blocks()), ids=lambda b: named(b))
def test_errors_in_the_guide_are_what_the_loader_says(
    code: Block, message: Block, tmp_path: Path
) -> None:
    (tmp_path / "wrong.py").write_text(code.text, encoding="utf-8")
    faults = [
        str(fault).replace(f"{tmp_path}/", "") for fault in load_plan(tmp_path, SUBJECTS).faults
    ]
    assert faults[0] == message.text.strip()


def test_a_function_that_reads_bars_and_trades_is_hosted_beside_bars(tmp_path: Path) -> None:
    code = [block for block, _ in wrong_blocks()][-1].text
    for file in (ROOT / "functions").glob("*.py"):
        shutil.copy(file, tmp_path)
    (tmp_path / "jumpy.py").write_text(code, encoding="utf-8")
    plan = load_plan(tmp_path, SUBJECTS)
    assert plan.faults == ()
    chain = plan.chain("jumpy")
    assert chain is not None
    assert chain.name == "market"


def test_python_in_documents_is_python() -> None:
    for block in BLOCKS:
        if block.language == "python":
            ast.parse(block.text, named(block))


# -- commands


def commands_in(text: str) -> Iterator[list[str]]:
    """Every `jetscan ...` in a text, as words: in code spans and in blocks of shell."""
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    shell = [
        line
        for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.split("\n")
    ]
    for line in spans + shell:
        for command in re.findall(r"(?:^|[\s/|;(])jetscan\s+([^|;#)\n]+)", line):
            yield command.split()


def command_faults(words: list[str]) -> Iterator[str]:
    command: click.Command = main
    known_options = {"--help", "-h"}
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            alternatives = word.split("\\|") if "\\|" in word else [word]
            found = command.commands.get(alternatives[0])
            if found is None:
                yield f"no command {word}"
                return
            command = found
        elif word.startswith("-"):
            options = {name for one in command.params for name in one.opts} | known_options
            if word.partition("=")[0] not in options | {"--version"}:
                yield f"{command.name}: no option {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_documents_exist(document: Path) -> None:
    faults = [
        f"jetscan {' '.join(words)}: {fault}"
        for words in commands_in(document.read_text(encoding="utf-8"))
        for fault in command_faults(words)
    ]
    assert faults == []


def leaves_of(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves_of(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


def test_every_command_is_described_somewhere() -> None:
    text = "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    missing = [name for name in leaves_of(main) if f"jetscan {name}" not in text]
    assert missing == []


def test_make_targets_in_documents_exist() -> None:
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for document in DOCUMENTS:
        spans = re.findall(
            r"(?:`|^)make ([a-z]+)", document.read_text(encoding="utf-8"), re.MULTILINE
        )
        assert set(spans) <= targets, document.name


# -- settings and the wire


def test_the_table_of_settings_is_config() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(JETSCAN_\w+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    defaults = Settings.model_construct()
    expected = [
        (f"{PREFIX}{name.upper()}", f"`{shown(getattr(defaults, name))}`", meaning)
        for name, _, meaning in defaults.described()
    ]
    assert found == expected


def shown(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value) or "(empty)"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_settings_named_in_documents_exist(document: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in FILES}
    assert set(re.findall(r"\bJETSCAN_[A-Z_]+\b", document.read_text(encoding="utf-8"))) <= known


def rows_of(heading: str) -> dict[str, list[str]]:
    """The rows of the table under a heading of wire.md, by the code span of their first cell."""
    text = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
    section = text.split(f"\n{heading}\n", 1)[1]
    section = re.split(r"\n#+ ", section, maxsplit=1)[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows}


def test_every_subject_is_described_with_its_carrier_and_writer() -> None:
    rows = rows_of("## Subjects")
    assert set(rows) == {
        f"{base}.<p>" if subject.partitioned else base
        for base, subject in SUBJECTS.subjects.items()
    }
    for wire, (carrier, record, writer, _) in rows.items():
        subject = SUBJECTS.subjects[wire.removesuffix(".<p>")]
        assert carrier.startswith(subject.stream or "core"), wire
        if subject.bucket:
            assert f"`{subject.bucket}`" in carrier, wire
        assert record.strip("`") == subject.record, wire
        assert writer == subject.written_by or writer.strip("`") in all_functions(), wire


def all_functions() -> set[str]:
    return {one.name for one in load_plan(ROOT / "functions", SUBJECTS).functions}


@pytest.mark.parametrize("name", SUBJECTS.records)
def test_every_column_is_described_with_its_type(name: str) -> None:
    rows = rows_of(f"### {name}")
    columns = SUBJECTS.record(name).columns
    assert list(rows) == list(columns)
    for column, cells in rows.items():
        assert cells[0] == columns[column].type, column
        assert (cells[1] == "optional") == (not columns[column].required), column


@pytest.mark.parametrize("table", ["streams", "buckets"])
def test_every_stream_and_bucket_is_described(table: str) -> None:
    assert set(rows_of(f"## {table.capitalize()}")) == set(getattr(SUBJECTS, table))


def test_trades_published_by_hand_in_documents_are_trades() -> None:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for symbol, body in re.findall(r"pub ticks\.raw\.(\w+) '(\{.*?\})'", text):
            frame = decode(body.encode(), SUBJECTS.record("trades"), symbol, now_ns=1)
            assert np.isfinite(frame["price"]).all()
            found.append(symbol)
    assert found


def test_frames_made_by_the_python_of_the_wire_guide_are_read() -> None:
    block = next(b for b in blocks_of(ROOT / "docs" / "wire.md") if b.label == "frame")
    scope: dict[str, Any] = {}
    exec(compile(block.text, named(block), "exec"), scope)
    frame = decode(scope["data"], SUBJECTS.record("trades"))
    assert frame["symbol"].tolist() == ["AAPL", "MSFT", "AAPL"]
    assert frame["price"].tolist() == [187.2, 402.5, 187.3]


# -- the tree, the walk, the links


def tree_of(text: str) -> set[str]:
    """Paths of a tree: two blanks of indent per level, several names in a line, then a meaning."""
    found, folder = set(), ""
    for line in text.splitlines():
        indent = "  " if line.startswith("  ") else ""
        names = re.split(r"\s{2,}", line.strip())[0].split()
        for name in names:
            found.add((folder if indent else "") + name.rstrip("/"))
        if not indent and len(names) == 1 and names[0].endswith("/"):
            folder = names[0]
    return found


def on_disk(folder: Path) -> set[str]:
    """What a folder has of the project; what somebody is writing there is theirs."""
    listed = ["git", "-C", str(folder), "ls-files"]
    found = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split("\n")
    names = {Path(one).parts[0] for one in found if one} or {one.name for one in folder.iterdir()}
    return {
        name
        for name in names
        if not name.startswith((".", "_"))
        and not name.endswith(".egg-info")
        and name not in NOT_IN_THE_TREE
    }


def test_the_tree_of_the_readme_is_on_the_disk() -> None:
    tree = tree_of(
        next(b for b in blocks_of(ROOT / "README.md") if b.text.startswith("subjects.yaml")).text
    )
    disk = on_disk(ROOT)
    for name in ("functions", "runtime"):
        disk |= {f"{name}/{entry}" for entry in on_disk(ROOT / name)}
    assert tree == disk


def test_the_walk_of_a_tick_names_at_most_eight_files_and_what_is_in_them() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    walk = text.split("## The walk of a tick", 1)[1].split("\n## ", 1)[0]
    steps = re.findall(r"^\d+\. `([\w/]+\.py)`((?: `[\w.]+`)+)", walk, re.MULTILINE)
    assert 0 < len({file for file, _ in steps}) <= 8
    for file, names in steps:
        module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
        for name in re.findall(r"`([\w.]+)`", names):
            value: Any = module
            for part in name.split("."):
                value = getattr(value, part)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_and_links_named_in_documents_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), f"{document.name} -> {target}"
        if anchor:
            assert anchor in anchors_of(linked), f"{document.name} -> {target}"
    for path in re.findall(r"`((?:runtime|functions|bench|tests)/[\w/]+\.(?:py|json))`", text):
        assert (ROOT / path).exists() or path in shown_files(), f"{document.name} names {path}"


def shown_files() -> set[str]:
    return {block.file for block in BLOCKS}


def anchors_of(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


# -- being told of alerts


def alerts_block(label: str) -> str:
    return next(b.text for b in blocks_of(ROOT / "docs" / "alerts.md") if b.label == label)


def test_the_profile_and_the_channel_of_the_alerts_guide_are_taken() -> None:
    plan = load_plan(ROOT / "functions", SUBJECTS)
    check = next(one for one in plan.functions if one.name == "deliveries").declaration.accepts
    assert check["alerts.control"](alerts_block("profile"))
    notify = importlib.import_module("functions.notify")
    assert notify.channel_of(alerts_block("channel"))["kind"] == "webhook"


def test_the_digest_of_the_alerts_guide_has_the_fields_of_one() -> None:
    digests = importlib.import_module("functions.users.digests")
    matches = importlib.import_module("functions.users.matches")
    columns = {
        name: np.array([text], dtype=object)
        for name, text in {"id": "i", "rule_id": "r", "rule_name": "R", "values": "{}"}.items()
    }
    columns |= {"ts_ns": np.array([1]), "price": np.array([1.0]), "number": np.array([1])}
    frame = Frame(columns, ["A"], np.zeros(1, dtype=np.int64))
    digest = digests.new_digest("budget")
    digests.add(digest, 2, matches.Matches(frame, columns["ts_ns"]), np.array([0]))
    said = json.loads(digests.said(digest, "u", 2)["body"])
    shown = json.loads(alerts_block("digest"))
    assert list(said) == list(shown)
    assert list(said["top"][0]) != []
    assert set(said["top"][0]) == set(shown["top"][0])


def test_the_python_of_the_alerts_guide_tells_a_genuine_webhook_from_a_forged_one() -> None:
    scope: dict[str, Any] = {}
    exec(compile(alerts_block("verify"), "alerts.md", "exec"), scope)
    is_genuine, now_s = scope["is_genuine"], int(time.time())
    header = signature("secret", b"{}", now_s)
    assert is_genuine("secret", header, b"{}")
    assert not is_genuine("secret", header, b"{ }")
    assert not is_genuine("other", header, b"{}")
    assert not is_genuine("secret", signature("secret", b"{}", now_s - 301), b"{}")
