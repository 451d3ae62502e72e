"""What `simulate` writes is BIDS, by the official validator, and not only by our own reader."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medblip.simulate import demo_cohorts, simulate

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")


def issues(folder: Path) -> dict[str, set[str]]:
    """Codes by severity."""
    done = subprocess.run([VALIDATOR, "--json", folder], capture_output=True, text=True)
    found: dict[str, set[str]] = {"error": set(), "warning": set()}
    for issue in json.loads(done.stdout)["issues"]["issues"]:
        found[issue["severity"]].add(issue["code"])
    assert (done.returncode != 0) == bool(found["error"])
    return found


@pytest.fixture(scope="module")
def simulated(world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("simulated")
    plans = demo_cohorts(4, 2)
    done = simulate(
        root, plans, template=world / "template", cache=root / "cache", workers=1, progress=False
    )
    return list(done.folders)


def test_simulated_cohorts_pass_the_official_validator(simulated: list[Path]) -> None:
    assert [folder.name for folder in simulated] == ["SIM-A", "SIM-Z"]
    for folder in simulated:
        found = issues(folder)
        assert found["error"] == set()
        # What is left is recommended of real scanners and authors.
        recommended = {"SIDECAR_KEY_RECOMMENDED", "JSON_KEY_RECOMMENDED"}
        assert found["warning"] <= {*recommended, "TOO_FEW_AUTHORS", "NO_AUTHORS"}


def test_the_validator_would_object(simulated: list[Path], tmp_path: Path) -> None:
    broken = shutil.copytree(simulated[1], tmp_path / "SIM-Z")
    table = next(broken.rglob("*_sessions.tsv"))
    table.write_text(table.read_text().replace("T00:00:00", ""))
    assert issues(broken)["error"] == {"TSV_VALUE_INCORRECT_TYPE"}
