"""What the tests of functions are written with: a chain without a server, a clock to advance, crashes on demand."""

from runtime.testing.checks import any_crash, any_cut, said_twice
from runtime.testing.golden import golden
from runtime.testing.harness import SUBJECTS_FILE, Harness
from runtime.testing.literals import LiteralError, columns_of, ns
from runtime.testing.sink import SinkHarness

__all__ = [
    "SUBJECTS_FILE",
    "Harness",
    "LiteralError",
    "SinkHarness",
    "any_crash",
    "any_cut",
    "columns_of",
    "golden",
    "ns",
    "said_twice",
]
