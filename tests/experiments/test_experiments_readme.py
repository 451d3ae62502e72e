"""README's table of experiments is what the results file gives, and nothing is lost on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medblip.experiments import readme
from medblip.experiments.matrix import EMBEDDED, Size
from medblip.experiments.outcome import Circumstances, Outcome, write_outcome
from medblip.experiments.readme import BEGIN, END, is_current, main, write_readme
from medblip.experiments.readme_file import MAX_BYTES, keep_results
from medblip.experiments.records import Role, RunRecord
from medblip.notice import SIMULATED_DATA

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results" / "experiments.json"
COMMAND = "medblip experiment all --study /data/people/study --out experiments"
FACTS = {
    "code": "medblip 0.1.0, commit 0123456789ab",
    "recipe size": "embedded",
    "seeds": "0, 1, 2",
    "scans tested on": "ADNI-3x200 12 (12 subjects)",
    "machine": "x86_64",
}
PAGE = f"# A page\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n"


def record(row: str, right: int, seed: int, role: Role = "model", table: int = 2) -> RunRecord:
    """Of twelve scans, so many answered right."""
    subjects = tuple(f"s{number}" for number in range(12))
    correct = tuple(np.random.default_rng(seed).permutation(12) < right)
    return RunRecord(table, row, "ADNI-3x200", seed, role, subjects, tuple(map(bool, correct)))


def records() -> list[RunRecord]:
    rows = {"smollm2.text_only": 5, "smollm2.frozen": 7, "smollm2.lora": 9}
    made = [record(row, n, seed) for row, n in rows.items() for seed in (0, 1, 2)]
    made += [record("itc_both", 9, seed, table=6) for seed in (0, 1, 2)]
    controls = [record("control.majority", 4, 0, "control", t) for t in (2, 6)]
    return [*made, *controls]


@pytest.fixture
def outcome(tmp_path: Path) -> Callable[..., Outcome]:
    def make(size: Size = EMBEDDED, simulated: bool = True) -> Outcome:
        told = Circumstances(COMMAND, simulated, FACTS, 4.25)
        return write_outcome(tmp_path / "out", records(), [2, 6], size, told, n_resamples=200)

    return make


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(PAGE, "utf-8")
    return path


@pytest.mark.skipif(not RESULTS.is_file(), reason="no experiment's results are kept yet")
def test_the_readme_is_what_the_kept_results_give() -> None:
    assert is_current(ROOT / "README.md", RESULTS), "run `make results`; do not edit it by hand"
    assert RESULTS.stat().st_size <= MAX_BYTES


def test_the_block_is_written_and_the_rest_of_the_page_left(
    outcome: Callable[..., Outcome], page: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "docs" / "experiments.json"
    arguments = [str(page), str(kept), "--from", str(outcome().results)]
    assert main(arguments) == 0
    text = page.read_text("utf-8")
    assert text.startswith("# A page\n\nBefore.\n\n")
    assert text.endswith(f"{END}\n\nAfter.\n")
    assert "old" not in text
    assert main(arguments[:2]) == 0
    assert page.read_text("utf-8") == text
    assert is_current(page, kept)
    page.write_text(text.replace("75.0", "85.0", 1), "utf-8")
    assert not is_current(page, kept)


def test_it_says_what_it_is_and_where_it_comes_from(
    outcome: Callable[..., Outcome], page: Path, tmp_path: Path
) -> None:
    found, kept = outcome(), tmp_path / "docs" / "experiments.json"
    keep_results(found.results, kept)
    write_readme(page, kept)
    text = page.read_text("utf-8")
    lora = re.search(r"^\| SmolLM2-135M, LoRA \|.*$", text, re.MULTILINE)
    assert lora is not None
    assert re.fullmatch(r"\| SmolLM2-135M, LoRA \| 75\.0 \(.+ to .+\) \[78\.7\] \|", lora[0])
    assert text.count("| Majority class |") == 1, "controls stand once, below the tables"
    assert "FLAN-T5-XL" not in text, "what was not run is left out"
    assert "NACC-3x200" not in text
    assert EMBEDDED.notes[2] in text
    claims = [c for c in found.claims if f"- Table {c.table}: {c.claim}: **{c.answer}**." in text]
    assert len(claims) == len(found.claims) > 0
    for said in (SIMULATED_DATA, "commit 0123456789ab", "in 4.2 hours", "](docs/experiments.json)"):
        assert said in text
    assert "medblip experiment all --study study --out experiments" in text
    assert "/data/people" not in text + kept.read_text("utf-8"), "folders of one machine"


def test_real_cohorts_are_not_called_simulated(
    outcome: Callable[..., Outcome], page: Path, tmp_path: Path
) -> None:
    keep_results(outcome(simulated=False).results, tmp_path / "kept.json")
    write_readme(page, tmp_path / "kept.json")
    assert SIMULATED_DATA not in page.read_text("utf-8")


def test_the_kept_file_is_small_and_keeps_no_bulk(
    outcome: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, kept = outcome().results, tmp_path / "kept.json"
    keep_results(found, kept)
    assert kept.stat().st_size < found.stat().st_size
    value = json.loads(kept.read_text("utf-8"))
    assert not {"by_seed", "by_column"} & set(re.findall(r'"(\w+)":', json.dumps(value)))
    monkeypatch.setattr("medblip.experiments.readme_file.MAX_BYTES", 100)
    assert main([str(tmp_path), str(kept), "--from", str(found)]) == 3


def edited(found: Path, path: Path, **values: Any) -> Path:
    path.write_text(json.dumps(json.loads(found.read_text("utf-8")) | values), "utf-8")
    return path


@pytest.mark.parametrize("way", ["tiny", "schema", "no tables", "no json", "absent", "no markers"])
def test_what_cannot_be_used_leaves_the_page_alone(
    outcome: Callable[..., Outcome],
    page: Path,
    tmp_path: Path,
    way: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    size = (
        replace(EMBEDDED, means_nothing="the numbers mean nothing") if way == "tiny" else EMBEDDED
    )
    source, kept = outcome(size).results, tmp_path / "kept.json"
    if way == "schema":
        source = edited(source, tmp_path / "bad.json", schema="other/1")
    elif way == "no tables":
        source = edited(source, tmp_path / "bad.json", tables=[{"table": 2, "rows": [{}]}])
    elif way == "no json":
        source.write_bytes(b"\x80")
    elif way == "absent":
        source = tmp_path / "absent.json"
    elif way == "no markers":
        page.write_text("# A page\n", "utf-8")
    before = page.read_text("utf-8")
    assert main([str(page), str(kept), "--from", str(source)]) == 3
    assert page.read_text("utf-8") == before
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_only_tables_of_the_readme_are_shown(outcome: Callable[..., Outcome]) -> None:
    found = json.loads(outcome().results.read_text("utf-8"))
    found["tables"].append({**found["tables"][0], "table": 3, "title": "Another table"})
    assert "Another table" not in readme.block(found, "link")
