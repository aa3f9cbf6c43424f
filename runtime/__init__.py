"""What carries events: a function module needs only the names exported here.

`Frame`, `State`, `Settings` and `Answer` are what a handler is given and gives, for editors and type checkers.
"""

from collections.abc import Mapping
from typing import Any

from runtime.contract import Drop, Retry, function
from runtime.frames import Frame
from runtime.state import Table as State

Settings = Mapping[str, Any]
Columns = Mapping[str, Any]  # values by column, with `row` or `symbol`
Answer = Frame | Columns | list[Frame | Columns] | None

__all__ = ["Answer", "Columns", "Drop", "Frame", "Retry", "Settings", "State", "function"]
