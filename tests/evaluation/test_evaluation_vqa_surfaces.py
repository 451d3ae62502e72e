"""Where answers to questions are shown: the report's table, the terminal, `medblip chat`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from test_report import content as report_content  # noqa: F401 - a fixture
from tiny import head_scan, saved_checkpoint
from typer.testing import CliRunner

from medblip.cli import app
from medblip.cli_tables import print_question_results
from medblip.evaluation import chatting, conversation
from medblip.evaluation.content import ReportContent
from medblip.evaluation.report import render_report
from medblip.evaluation.vqa_answers import Answered
from medblip.evaluation.vqa_evaluate import QuestionEvaluation, QuestionSplit
from medblip.evaluation.vqa_scores import score_condition
from medblip.evaluation.vqa_shown import QUESTION_CONDITIONS
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.study.study import Example
from vqa.asked_maker import questions_about


def answered(right: bool, count: int) -> Answered:
    rows = np.full((count, count), -2.0)
    rows[:, :1] -= not right
    return Answered(rows.tolist(), np.ones((count, count), int).tolist(), "A. small <b>")


def evaluation() -> QuestionEvaluation:
    """Ten subjects; what is answered depends on nothing but the number of the question."""
    names = [f"sub-{number}" for number in range(10)]
    examples = [Example(n, "ses-1", "SIM-A", "", {}, "NC", f"{n}.safetensors", "") for n in names]
    questions = tuple(questions_about(examples))
    scores: dict[Any, Any] = {}
    answers = [answered(n % 2 == 0, len(q.choices)) for n, q in enumerate(questions)]
    for condition in QUESTION_CONDITIONS:
        scores[condition] = score_condition(questions, answers, scores.get("full"))
    split = QuestionSplit(questions, dict.fromkeys(scores, answers), scores)
    return QuestionEvaluation(True, {"test": split}, most=50)


def test_the_report_has_the_table_only_where_questions_were_asked(
    report_content: ReportContent,  # noqa: F811 - the fixture
) -> None:
    assert 'id="questions"' not in render_report(report_content)
    page = render_report(replace(report_content, questions=evaluation()))
    section = page.split('<section id="questions">')[1].split("</section>")[0]
    for words in (
        "Test: 60 questions about 10 subjects; at most 50",
        "all closed",
        "two-turn-topic",
    ):
        assert words in section
    for text in QUESTION_CONDITIONS.values():
        assert text.title.replace("'", "&#39;") in section
    assert "(hallucinated)" in section and "10 pairs" in section
    assert "nan%" not in section


def test_the_terminal_shows_the_same_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    print_question_results(evaluation().as_dict())
    shown = capsys.readouterr().out
    for kind in evaluation().splits["test"].scores["full"].groups:
        assert kind in shown
    assert "33.3%" in shown and "No image" in shown
    assert SIMULATED_DATA in shown and "of 10" in shown.split("Two-turn pairs")[1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_checkpoint(tmp_path_factory.mktemp("checkpoint")).parent


@pytest.fixture
def chat(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(chatting, "embedded_reference", lambda: None)
    monkeypatch.setattr(conversation, "MAX_NEW_TOKENS", 4)

    def run(array: np.ndarray, said: str, previous: np.ndarray | None = None) -> Any:
        arguments = ["chat", str(checkpoint)]
        for option, one in (([], array), (["--previous"], previous)):
            if one is not None:
                scan = tmp_path / f"scan{len(option)}.nii.gz"
                nib.save(nib.Nifti1Image(one, head_scan().affine), scan)
                arguments += [*option, str(scan)]
        return CliRunner().invoke(app, arguments, input=said)

    return run


def test_chat_answers_each_line_until_an_empty_one(chat: Any) -> None:
    shown = chat(head_scan().array, "Is it large?\nAnd now?\n\nNot asked\n")
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("Answer:  ") == 2
    assert shown.output.count(RESEARCH_USE) == 2
    assert "not trained on questions" in shown.output


def test_chat_refuses_what_ask_refuses(chat: Any) -> None:
    mask = (head_scan().array > 10).astype(np.float32)
    shown = chat(mask, "Is it large?\n")
    assert shown.exit_code == 3
    assert "No answer: " in shown.output and "Answer:  " not in shown.output
    assert RESEARCH_USE in shown.output


def test_chat_takes_a_previous_scan_that_passes_the_same_gate(chat: Any) -> None:
    shown = chat(head_scan().array, "Has it grown?\n", head_scan(3).array)
    assert shown.exit_code == 0, shown.output
    assert shown.output.count("Answer:  ") == 1
    refused = chat(head_scan().array, "Has it grown?\n", (head_scan().array > 10) * 1.0)
    assert refused.exit_code == 3 and "No answer: " in refused.output
