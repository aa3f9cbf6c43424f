"""Where recorded data lies that is not part of the project: `shared` beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Taken out of the environment: the product refuses settings it does not know.
SHARED = Path(os.environ.pop("JETSCAN_SHARED", "") or ROOT.parent / "shared")


def needs(*parts: str) -> pytest.MarkDecorator:
    """Skip a test, and say so, where the data is not there."""
    path = SHARED.joinpath(*parts)
    reason = f"no {path}; JETSCAN_SHARED names the folder that holds {'/'.join(parts)}"
    return pytest.mark.skipif(not path.exists(), reason=reason)
