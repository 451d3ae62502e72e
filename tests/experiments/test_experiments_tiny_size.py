"""Three kinds of language model with random weights run, and every surface says what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_experiment import make_study

from medblip.cli_experiment import _print_outcome
from medblip.experiments.claim_verdicts import ClaimVerdict
from medblip.experiments.experiment import Plan
from medblip.experiments.hours import Hours
from medblip.experiments.kept import RECORDS_FILE, Kept
from medblip.experiments.matrix import EMBEDDED
from medblip.experiments.outcome import Circumstances, Outcome, _decidable, write_outcome
from medblip.experiments.records import RunRecord
from medblip.experiments.runner import Runner
from medblip.experiments.scoring import Caches
from medblip.experiments.simple_controls import MODEL_CONTROLS
from medblip.experiments.tiny_size import (
    FAMILIES,
    MARK,
    NUMBERS_MEAN_NOTHING,
    size_named,
    tiny_size,
)
from medblip.model.bases import load_language
from medblip.recipe import load_recipe
from medblip.study.study import Study
from training.tiny_run import SIZE

KINDS = {"tiny-t5": ("t5", True), "tiny-gpt2": ("gpt2", False), "tiny-llama": ("llama", False)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny_size")


@pytest.fixture(scope="module")
def outcome(root: Path) -> Outcome:
    """The LoRA rows of Table 2, and its claims."""
    study = Study.load(make_study(root))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDBLIP_CACHE", str(root))
        values = (f"model.volume_size={SIZE}",)
        plan = Plan("table2", study.folder, root / "out", "tiny", (0,), values)
    trials = [t for t in plan.trials if t.row.endswith(".lora")]
    kept, caches = Kept(plan.out), Caches(root / "cubes", root / "tokens")
    runner = Runner(study, kept, Hours.read(plan.out), caches, progress=False)
    assert runner.run(trials) == []
    circumstances = Circumstances(plan.command, True, {}, 0.0)
    records = kept.gather(trials)
    return write_outcome(plan.out, records, [2], plan.recipes, circumstances, n_resamples=200)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".yaml"  # recipes name their folder
    }


def test_each_family_is_of_its_kind_in_the_format_of_a_real_checkpoint(root: Path) -> None:
    size = tiny_size(root / "kinds")
    assert set(size.models) == set(FAMILIES) == set(KINDS)
    for model, (kind, encoder_decoder) in KINDS.items():
        config = load_language(Path(load_recipe(size.models[model]).model.language)).config
        assert (config.model_type, config.is_encoder_decoder) == (kind, encoder_decoder)


def test_they_are_made_once_and_everywhere_alike(root: Path) -> None:
    first = tiny_size(root / "first")
    (root / "first" / "1" / "tiny-t5" / "mark").touch()
    assert tiny_size(root / "first") == first
    assert (root / "first" / "1" / "tiny-t5" / "mark").exists()
    (root / "first" / "1" / "tiny-t5" / "mark").unlink()
    tiny_size(root / "second")
    assert bytes_below(root / "first") == bytes_below(root / "second")


def test_all_three_answer_and_stand_in_the_place_of_the_papers(outcome: Outcome) -> None:
    (table,) = outcome.tables
    given = {row.key: row for row in table.rows if any(cell.ours for cell in row.cells)}
    assert {f"{model}.lora" for model in FAMILIES} <= set(given)
    assert given["tiny-t5.lora"].paper_row == "flan-t5.lora"
    assert given["tiny-llama.lora"].paper_row == ""


def test_every_surface_says_that_the_numbers_mean_nothing(
    outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    _print_outcome(outcome)
    printed = capsys.readouterr().out
    page = outcome.page.read_text("utf-8")
    results = json.loads(outcome.results.read_text("utf-8"))
    for text in (printed, page, results["means_nothing"]):
        assert NUMBERS_MEAN_NOTHING in text
    (table,) = results["tables"]
    assert table["notes"] == [NUMBERS_MEAN_NOTHING]
    ours = [r for r in table["rows"] if r["key"].startswith("tiny-") or r["key"] in MODEL_CONTROLS]
    assert len(ours) == len(FAMILIES) + len(MODEL_CONTROLS)
    assert all(row["title"].endswith(f"({MARK})") for row in ours)


def test_no_claim_is_decided(outcome: Outcome) -> None:
    claims = json.loads(outcome.results.read_text("utf-8"))["claims"]
    assert claims == [claim.as_dict() for claim in outcome.claims]
    for claim in claims:
        assert claim["answer"] == "not decided"
        assert claim["text"].startswith("No claim is decided at this size")
        assert claim["steps"] == []
    decided = ClaimVerdict(2, "a claim", "holds", "It does.", ())
    size = size_named("embedded")
    assert _decidable(decided, size) == decided
    assert _decidable(decided, replace(size, means_nothing="nothing")).answer == "not decided"


def test_the_embedded_table_2_says_which_families_it_has_not(outcome: Outcome) -> None:
    size = size_named("embedded")
    assert size == EMBEDDED
    assert size.means_nothing == ""
    assert "--recipe-size tiny" in size.notes[2]
    circumstances = Circumstances("", True, {}, 0.0)
    lines = (outcome.page.parent / RECORDS_FILE).read_text("utf-8").splitlines()
    records = [RunRecord.from_dict(json.loads(line), RECORDS_FILE) for line in lines]
    folder = outcome.page.parent.parent / "embedded"
    other = write_outcome(folder, records, [2], size, circumstances, n_resamples=100)
    assert "run at tiny size only" in other.page.read_text("utf-8")
    assert NUMBERS_MEAN_NOTHING not in other.page.read_text("utf-8")
