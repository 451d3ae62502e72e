"""One tiny replica of all cohorts for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from replica_files import REPLICA, SCALE

from medblip.simulate.replica import simulate_replica


@pytest.fixture(scope="session")
def replica(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cohorts with every trap."""
    out = tmp_path_factory.mktemp("replica")
    simulate_replica(
        out,
        replica=REPLICA,
        scale=SCALE,
        template=world / "template",
        cache=world / "anatomy",
        workers=1,
        progress=False,
    )
    return out
