"""README.md of the chart, from the comments of values.yaml: `python -m tests.helm.readme` prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).parent.parent.parent / "helm"
HEAD = """\
# The Jetscan chart

Generated from values.yaml by `make chart`; how to use it: [docs/deployment.md](../docs/deployment.md).

| value | default | meaning |
|---|---|---|
"""
KEY = re.compile(r"^( *)([A-Za-z]\w*):( .*)?$")


def readme() -> str:
    """The whole page."""
    return HEAD + "".join(f"| `{key}` | {default} | {text} |\n" for key, default, text in rows())


def rows() -> Iterator[tuple[str, str, str]]:
    """(value, default, meaning) of every value that has a comment which begins with two dashes."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    defaults, path, comment = yaml.safe_load(text), list[str](), ""
    for line in text.splitlines():
        if line.strip().startswith("# -- "):
            comment = line.strip().removeprefix("# -- ")
            continue
        found = KEY.match(line)
        if found is None:
            continue
        path = [*path[: len(found[1]) // 2], found[2]]
        if comment:
            yield ".".join(path), shown(defaults, path), comment.replace("|", "\\|")
            comment = ""


def shown(defaults: object, path: list[str]) -> str:
    for key in path:
        assert isinstance(defaults, dict)
        defaults = defaults[key]
    if defaults == "":
        return "(empty)"
    text = yaml.safe_dump(defaults, default_flow_style=True, width=10_000, sort_keys=False)
    return f"`{text.strip().removesuffix('...').strip()}`"


if __name__ == "__main__":
    print(readme(), end="")
