"""The page is whole, honest about what won, escapes what it is given, and loads nothing."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from medblip.errors import UsageError
from medblip.evaluation import figures, verdicts
from medblip.evaluation.metrics import (
    ClassificationMetrics,
    Interval,
    PairedDifference,
    classification_metrics,
    paired_difference,
    reliability,
)
from medblip.evaluation.report import (
    Calibration,
    Case,
    Comparison,
    GroupResult,
    PaperSubset,
    ReportContent,
    RunFacts,
    SplitCount,
    render_report,
    write_report,
)
from medblip.notice import RESEARCH_USE, SIMULATED_DATA

CLASSES = ("NC", "MCI", "AD")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ROWS = 90
LABELS = np.arange(ROWS) % 3
SUBJECTS = np.array([f"SIM-A-{row // 2:03d}" for row in range(ROWS)])


def probabilities(skill: float, seed: int) -> np.ndarray:
    """Answers ``(rows, 3)`` that lean on the truth by ``skill`` logits."""
    logits = np.random.default_rng(seed).normal(size=(ROWS, 3)) + skill * np.eye(3)[LABELS]
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


FULL = probabilities(2.0, seed=1)


def numbers(answers: np.ndarray) -> ClassificationMetrics:
    return classification_metrics(LABELS, answers, SUBJECTS, CLASSES, n_resamples=100)


def comparison(title: str, answers: np.ndarray, withholds: verdicts.Withheld = "") -> Comparison:
    against = paired_difference(
        answers.argmax(1) == LABELS, FULL.argmax(1) == LABELS, SUBJECTS, n_resamples=100
    )
    return Comparison(title, f"{title}, explained", numbers(answers), against, withholds)


@pytest.fixture(scope="module")
def content() -> ReportContent:
    full = numbers(FULL)
    case = Case(
        participant_id="SIM-A-001",
        session_id="ses-01",
        cohort="SIM-A",
        site="A1",
        truth="MCI",
        answer="AD",
        answer_text="dementia",
        probabilities={"NC": 0.1, "MCI": 0.3, "AD": 0.6},
        question="What will this subject be diagnosed with?",
        record="Age 71. <script>alert('record')</script> & more",
        slices_png=figures.to_png(figures.confusion_matrix([[1]], ["NC"]), dpi=20),
    )
    return ReportContent(
        title="MedBLIP on SIM-A",
        subtitle="a small model",
        created="2025-01-01",
        question="What will this subject be diagnosed with?",
        simulated=True,
        show_records=True,
        full=full,
        calibration=Calibration(
            1.4, "30 validation subjects", reliability(LABELS, FULL), reliability(LABELS, FULL), 0.1
        ),
        controls=[
            comparison("Record only", probabilities(0.2, seed=2), "image"),
            comparison("Image only", probabilities(1.0, seed=3), "record"),
        ],
        simple_models=[
            comparison("Majority class", np.full((ROWS, 3), 1 / 3)),
            comparison("Logistic regression: fields", probabilities(6.0, seed=4)),
        ],
        groups=[GroupResult("SIM-A", "", False, full), GroupResult("SIM-Z", "", True, full)],
        cases=[case, replace(case, answer="MCI")],
        run=RunFacts(
            commands=["medblip demo --seed 0"],
            recipe_yaml="seed: 0\n",
            environment={"torch": "2.13"},
            seeds={"training": 0},
            timings={"training": 301.0},
            counts=[SplitCount("zero_shot", "SIM-Z", 30, 40, {"NC": 20, "AD": 20})],
        ),
        subsets=[
            PaperSubset(
                "ADNI-3x200",
                "subject",
                CLASSES,
                200,
                30,
                dict.fromkeys(CLASSES, 30),
                full,
                (comparison("Record only", probabilities(0.2, seed=2), "image"),),
            ),
            PaperSubset("AIBL-3x200", "image", CLASSES, 200, 0, {"NC": 3, "MCI": 1, "AD": 0}, None),
        ],
        training_rows=[
            {"step": 1, "stage": "alignment", "itc_record": 2.0},
            {"step": 2, "stage": "all", "itc_record": 1.0, "language": 1.5},
            {"step": 2, "validation_accuracy": 0.5},
        ],
        limitations=["One seed."],
    )


@pytest.fixture(scope="module")
def page(content: ReportContent) -> str:
    return render_report(content)


class Elements(HTMLParser):
    """Every start tag with its attributes, the text, and the tags left open."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_well_formed(page: str) -> None:
    assert Elements(page).open == []


def test_page_loads_nothing(page: str) -> None:
    for tag, attributes in Elements(page).tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "poster"):
            target = attributes.get(name, "")
            assert tag == "a" or target.startswith(("#", "data:")) or not target, (tag, target)
        assert tag not in {"script", "iframe", "object", "form", "base"}
        assert not any(name.startswith("on") for name in attributes)
    styles = "".join(re.findall(r"<style>.*?</style>|style=\"[^\"]*\"", page, re.DOTALL))
    assert "@import" not in styles
    assert not re.search(r"url\((?!#)", styles)
    assert "default-src 'none'" in page


def test_record_text_stays_text(page: str) -> None:
    assert "<script" not in page
    assert "<script>alert('record')</script> & more" in Elements(page).text


def test_names_in_drawings_stay_text(content: ReportContent) -> None:
    hostile = replace(content.controls[0], title="<script>$x^2$</script>")
    page = render_report(replace(content, controls=[hostile]))
    assert "<script" not in page
    assert "<script>$x^2$</script>" in Elements(page).text


def test_research_and_simulated_sentences(content: ReportContent, page: str) -> None:
    assert RESEARCH_USE in page
    assert SIMULATED_DATA in page
    real = render_report(replace(content, simulated=False, show_records=False))
    assert RESEARCH_USE in real
    assert SIMULATED_DATA not in real


def test_records_are_printed_only_if_asked_and_simulated(content: ReportContent) -> None:
    assert "Age 71." not in render_report(replace(content, show_records=False))
    with pytest.raises(UsageError, match="show_records"):
        replace(content, simulated=False)


def test_a_winning_simple_model_is_named(content: ReportContent, page: str) -> None:
    sentence = "Logistic regression: fields scores higher than MedBLIP on this set"
    assert sentence in page
    without = render_report(replace(content, simple_models=content.simple_models[:1]))
    assert sentence not in without
    assert "No simple model scores higher than MedBLIP on this set" in without


def test_every_section_and_figure_is_there(page: str) -> None:
    elements = Elements(page)
    ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(ids) == len(set(ids)), "ids are unique across the drawings"
    links = [a["href"][1:] for tag, a in elements.tags if tag == "a" and a["href"][0] == "#"]
    assert set(links) <= set(ids)
    drawings = [a for tag, a in elements.tags if tag == "svg"]
    pictures = [a for tag, a in elements.tags if tag == "img"]
    assert len(drawings) == 4
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    assert len(pictures) == 2
    assert all(a["alt"] for a in pictures)


def test_the_papers_subsets_tell_their_size_and_what_could_not_be_drawn(page: str) -> None:
    text = " ".join(Elements(page).text.split())
    assert "ADNI-3x200, one scan a subject3 x 30 scans; in the paper 3 x 200" in text
    assert "AIBL-3x200, all scans3 x 0 scans" in text
    assert "nothing to draw: not every label is there" in text
    assert "scored over these two answers only" in text


def test_same_content_gives_the_same_bytes(
    content: ReportContent, page: str, tmp_path: Path
) -> None:
    path = write_report(tmp_path / "new" / "report.html", content)
    assert path.read_text(encoding="utf-8") == page


def test_undefined_numbers_are_said_to_be_undefined(content: ReportContent) -> None:
    two = LABELS != 1
    one_missing = classification_metrics(
        LABELS[two], FULL[two], SUBJECTS[two], CLASSES, n_resamples=50
    )
    page = render_report(
        replace(content, full=one_missing, groups=[GroupResult("M", "", True, one_missing)])
    )
    assert verdicts.UNDEFINED in page
    assert "nan" not in re.sub(r"data:[^\"]*", "", page).lower().replace("dominant", "")


def test_an_empty_page_still_renders(content: ReportContent) -> None:
    bare = replace(
        content, controls=[], simple_models=[], groups=[], cases=[], training_rows=[], subsets=[]
    )
    page = render_report(bare)
    assert Elements(page).open == []
    assert 'id="subsets"' not in page


@pytest.mark.parametrize(
    ("low", "high", "tone"),
    [
        (-0.2, -0.1, "for"),
        (-0.3, 0.1, "open"),
        (-0.1, 0.3, "open"),
        (0.1, 0.2, "against"),
        (float("nan"), float("nan"), "open"),
    ],
)
def test_control_verdicts_follow_the_interval(
    content: ReportContent, low: float, high: float, tone: str
) -> None:
    difference = PairedDifference(Interval((low + high) / 2, low, high), 5, 9, 0.04, 45)
    control = replace(content.controls[0], against_full=difference)
    verdict = verdicts.withheld_verdict([control], "image")
    assert verdict is not None
    assert verdict.tone == tone
    assert verdicts.withheld_verdict([control], "record") is None


@pytest.mark.parametrize(
    ("value", "text"), [(0.186, "+18.6"), (-0.186, "\u221218.6"), (-0.0001, "0.0"), (0.0, "0.0")]
)
def test_points(value: float, text: str) -> None:
    assert verdicts.points(value) == text


def test_training_curves_of_one_row() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figures.training_curves([{"step": 5, "validation_accuracy": 0.4}])
        assert figures.to_png(figure, dpi=20).startswith(PNG_SIGNATURE)


def drawings(content: ReportContent) -> dict[str, figures.Figure]:
    bars = [figures.Bar("a", Interval(0.5, float("nan"), float("nan")), "ours")]
    return {
        "bars": figures.accuracy_bars(bars, 0.3),
        "confusion": figures.confusion_matrix(content.full.confusion, CLASSES),
        "reliability": figures.reliability_diagram(content.calibration.bins),
        "training": figures.training_curves(content.training_rows),
    }


@pytest.mark.parametrize("name", ["bars", "confusion", "reliability", "training"])
def test_figures_are_png_and_svg(content: ReportContent, name: str) -> None:
    figure = drawings(content)[name]
    assert figures.to_png(figure, dpi=40).startswith(PNG_SIGNATURE)
    svg = figures.to_svg(figure, name, 'says "a & b"')
    root = ElementTree.fromstring(svg)  # noqa: S314
    assert root.attrib["aria-label"] == 'says "a & b"'
    assert "var(--ink" in svg or "var(--muted" in svg
