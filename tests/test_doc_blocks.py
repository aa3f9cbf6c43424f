"""Every fenced block of the documents says what it is, and is that: shell, JSON, YAML, TOML."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib

import pytest
import yaml

from runtime.loader import load_plan
from tests.test_docs import (
    BLOCKS,
    DOCUMENTS,
    ROOT,
    SUBJECTS,
    Block,
    blocks_of,
    command_faults,
    commands_in,
    named,
)

GUIDE_TO_TESTS = ROOT / "tests" / "README.md"
ALL = [*BLOCKS, *blocks_of(GUIDE_TO_TESTS)]
LANGUAGES = {"sh", "python", "json", "yaml", "toml", "sql", "rule", "ebnf", "text"}


@pytest.mark.parametrize("block", ALL, ids=named)
def test_a_block_is_in_the_language_it_names(block: Block) -> None:
    assert block.language in LANGUAGES, f"expected one of {sorted(LANGUAGES)}"
    if block.language == "sh":
        done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif block.language == "json":
        for value in values_in(block.text):
            json.loads(value)
    elif block.language == "yaml":
        list(yaml.safe_load_all(block.text))
    elif block.language == "toml":
        tomllib.loads(block.text)


def values_in(text: str) -> list[str]:
    """One value over many lines, or a value a line."""
    lines = text.strip().splitlines()
    return lines if all(line.startswith("{") and line.endswith("}") for line in lines) else [text]


def test_a_document_closes_every_block_it_opens() -> None:
    for document in [*DOCUMENTS, GUIDE_TO_TESTS]:
        fences = [line for line in document.read_text().splitlines() if line.startswith("```")]
        assert len(fences) % 2 == 0, document.name
        assert all(fence == "```" for fence in fences[1::2]), document.name


def test_commands_in_the_guide_to_tests_exist() -> None:
    words = list(commands_in(GUIDE_TO_TESTS.read_text(encoding="utf-8")))
    assert [fault for one in words for fault in command_faults(one)] == []


def test_the_picture_of_the_whole_has_every_stream_chain_and_no_other_bucket() -> None:
    document = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    picture = document.split("## The whole", 1)[1].split("```")[1]
    assert set(re.findall(r"│ ([A-Z]+) │", picture)) == set(SUBJECTS.streams)
    shared = "owners snapshots rules livebars toplists channels functions".split()
    assert set(shared) <= set(SUBJECTS.buckets)
    assert all(name in picture for name in shared)
    plan = load_plan(ROOT / "functions", SUBJECTS)
    assert all(f"chain {chain.name}" in picture for chain in plan.chains)
    for chain in plan.chains:
        assert all(one.name in picture for one in chain.functions)
