"""Files that are written are whole or not there, and what cannot be written says what to do."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.tables import TableError, check_writable, make_folder, write_parquet, write_text

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, resource.RLIM_INFINITY))
sys.argv = ["jetscan", *sys.argv[1:]]
from runtime.cli import main
main()
"""


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_file_that_grew_too_large_leaves_nothing_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "values.parquet"
    write_parquet(path, {"value": np.arange(3)})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(TableError, match=r"ulimit -f") as refused:
            write_parquet(path, {"value": np.random.default_rng(1).random(10_000)})
        with pytest.raises(TableError, match=r"ulimit -f"):
            write_text(tmp_path / "text", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(refused.value)
    assert names_in(tmp_path) == ["values.parquet"]
    assert path.read_bytes() == before


def test_what_cannot_be_written_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, says in (
        (tmp_path / "none" / "x", "there is no folder"),
        (tmp_path / "file" / "x", "is no folder; name a file in one"),
        (tmp_path, "it is there and no file"),
        (Path("/dev/null"), "it is there and no file"),
    ):
        with pytest.raises(TableError, match=says):
            check_writable(path)
        with pytest.raises(TableError, match=says):
            write_text(path, "x")
    with pytest.raises(TableError, match="cannot be made"):
        make_folder(tmp_path / "file" / "x")
    check_writable(tmp_path / "good")
    assert names_in(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text(encoding="utf-8") == "x"


@pytest.mark.parametrize("command", ["sim", "backtest"])
def test_a_command_that_ran_out_of_room_says_it_in_one_line(tmp_path: Path, command: str) -> None:
    trades, out = tmp_path / "trades.csv", tmp_path / "out"
    rows = [f"S{k},{1_767_623_400_000_000_000 + k * 1_000_000},10,100" for k in range(300)]
    trades.write_text("\n".join(["symbol,ts_ns,price,size", *rows]), encoding="utf-8")
    words = ["--trades", str(trades)] if command == "backtest" else []
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, command, *words, "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1, told.stderr
    assert told.stderr.count("\n") == 1, told.stderr
    assert "it would be larger than this process may write" in told.stderr
    assert names_in(out) == []
