"""`medblip ask --previous`: both scans in one prompt, both past the gate, and only where learnt."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import QUERIES, head_scan, saved_checkpoint
from typer.testing import CliRunner

from medblip.cli import app
from medblip.errors import UsageError
from medblip.evaluation import answering, asking, chatting
from medblip.model import MedBlipConfig, MedBlipProcessor
from medblip.notice import RESEARCH_USE
from medblip.study.labels import QUESTION
from medblip.training.card_facts import CardFacts, StageFact, TrainingFacts, facts_of_training
from medblip.volumes import scan_sha256

sys.path.append(str(Path(__file__).parent.parent / "training"))
from two_scans import make_two_scan_run, without_priors

COMPARING = "Have the ventricles grown since the previous scan?"
NO_HEAD = (head_scan().array > 10).astype(np.float32)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def scans(tmp_path: Path) -> tuple[Path, Path]:
    """The later and the earlier scan."""
    return saved(tmp_path / "later.nii.gz", 0), saved(tmp_path / "earlier.nii.gz", 3)


def saved(path: Path, seed: int = 0, array: np.ndarray | None = None) -> Path:
    head = head_scan(seed)
    nib.save(nib.Nifti1Image(head.array if array is None else array, head.affine), path)
    return path


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (asking, chatting):
        monkeypatch.setattr(module, "embedded_reference", lambda: None)
    monkeypatch.setattr(answering, "MAX_NEW_TOKENS", 4)


@pytest.fixture
def card(checkpoint: Path) -> Iterator[Any]:
    """Writes how the checkpoint was trained, for one test."""

    def write(questions: str, compared: bool | None) -> None:
        losses = {"language": 1.0}
        stage = StageFact(
            name="tune", steps=1, batch_size=1, learning_rate=1, losses=losses, questions=questions
        )
        training = TrainingFacts(
            recipe="r", seed=0, environment={}, record_fields=(), stages=(stage,), kept={},
            compared=compared,
        )  # fmt: skip
        facts = CardFacts.of_config(MedBlipConfig.from_pretrained(checkpoint))
        facts.model_copy(update={"training": training}).write(checkpoint)

    yield write
    (checkpoint / "card.json").unlink(missing_ok=True)


def ask(checkpoint: Path, later: Path, earlier: Path, *more: str) -> Any:
    given = [str(later), "--previous", str(earlier), "--model", str(checkpoint)]
    return CliRunner().invoke(app, ["ask", *given, *more])


def test_the_earlier_scan_stands_before_the_current_one(
    checkpoint: Path, scans: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    answer = answering._generate
    monkeypatch.setattr(
        answering, "_generate", lambda m, p, inputs: seen.append(inputs) or answer(m, p, inputs)
    )
    later, earlier = scans
    shown = ask(checkpoint, later, earlier, "--question", COMPARING, "--json")
    assert shown.exit_code == 0, shown.output
    said = json.loads(shown.stdout)
    assert said["input_sha256"] == scan_sha256(later)
    assert said["previous_sha256"] == scan_sha256(earlier)
    assert said["notice"] == RESEARCH_USE

    processor = MedBlipProcessor.from_pretrained(checkpoint)
    (inputs,) = seen
    images = processor.image_processor([earlier, later]).pixel_values
    assert torch.equal(inputs.pixel_values, images) and not torch.equal(images[0], images[1])
    assert int((inputs.input_ids == processor.image_token_id).sum()) == 2 * QUERIES
    assert (
        inputs.input_ids[0].tolist() == processor.prompts.prompt("", COMPARING, previous=True).ids
    )


def test_one_scan_is_asked_about_as_before(checkpoint: Path, scans: tuple[Path, Path]) -> None:
    shown = CliRunner().invoke(app, ["ask", str(scans[0]), "--model", str(checkpoint), "--json"])
    assert shown.exit_code == 0, shown.output
    said = json.loads(shown.stdout)
    assert said["previous_sha256"] == "" and sum(said["probabilities"].values()) > 0.99


def test_a_refused_earlier_scan_is_named(checkpoint: Path, scans: tuple[Path, Path]) -> None:
    later, earlier = scans
    saved(earlier, array=NO_HEAD)
    shown = ask(checkpoint, later, earlier, "--question", COMPARING)
    assert shown.exit_code == 3
    assert "No answer: the earlier scan: " in shown.output and RESEARCH_USE in shown.output
    refused = ask(checkpoint, earlier, later, "--question", COMPARING)
    assert refused.exit_code == 3 and "No answer: the earlier scan" not in refused.output


@pytest.mark.parametrize("questions", ["diagnosis", "vqa"])
def test_a_model_that_never_saw_two_scans_is_shown_one(
    questions: str, checkpoint: Path, scans: tuple[Path, Path], card: Any
) -> None:
    """And `chat` says the same."""
    card(questions, False)
    later, earlier = scans
    asked = ask(checkpoint, later, earlier, "--question", COMPARING)
    told = CliRunner().invoke(
        app, ["chat", str(checkpoint), str(later), "--previous", str(earlier)], input=COMPARING
    )
    for shown in (asked, told):
        assert isinstance(shown.exception, UsageError)
        assert shown.exception.code == "trained-on-one-scan"
        assert "was not trained on two scans" in str(shown.exception)
    assert str(asked.exception) == str(told.exception)


@pytest.mark.parametrize("compared", [True, None])
def test_a_model_that_saw_two_scans_answers_without_a_doubt(
    compared: bool | None, checkpoint: Path, scans: tuple[Path, Path], card: Any
) -> None:
    """So does one from before it was written down whether it did."""
    card("vqa", compared)
    shown = ask(checkpoint, *scans, "--question", COMPARING, "--json")
    assert shown.exit_code == 0, shown.output
    codes = {finding["code"] for finding in json.loads(shown.stdout)["findings"]}
    assert "free-question" not in codes


@pytest.mark.parametrize("question", [[], ["--question", f" {QUESTION}"]])
def test_the_diagnosis_is_asked_of_one_scan(
    question: list[str], checkpoint: Path, scans: tuple[Path, Path]
) -> None:
    shown = ask(checkpoint, *scans, *question)
    assert isinstance(shown.exception, UsageError)
    assert shown.exception.code == "diagnosis-of-two"


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_the_help_teaches_it(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert "--previous earlier.nii.gz" in " ".join(shown.output.split())


def test_a_card_says_whether_two_scans_were_compared(tmp_path: Path) -> None:
    run = make_two_scan_run(tmp_path)
    kept = {"stage": "tune", "step": 1}

    def compared() -> bool | None:
        training = facts_of_training(run.recipe, run.study, {}, kept).training
        assert training is not None
        return training.compared_scans

    assert compared() is True
    without_priors(run.study)
    assert compared() is False
