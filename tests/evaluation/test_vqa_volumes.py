"""A trained run on a public set: M3D's CSV and arrays, and NIfTI, from the table to the numbers."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from tiny import SIZE, based_model, head_scan, tokenizer
from typer.testing import CliRunner

from medblip.cli import app
from medblip.errors import MedBlipError
from medblip.evaluation import question_volumes, vqa_answers
from medblip.evaluation.vqa_volumes import _shown
from medblip.model import MedBlipImageProcessor, MedBlipProcessor
from medblip.notice import RESEARCH_USE
from medblip.volumes import Preprocessing, read_cube
from medblip.vqa.question_file import write_questions
from medblip.vqa.question_origin import origin_path
from medblip.vqa.questions import Question, SessionImage, VolumeFile
from medblip.vqa.volume_cubes import PLANES, VolumeCubes, array_cube, resized

sys.path.append(str(Path(__file__).parent.parent / "training"))
from tiny_run import make_recipe

COLUMNS = (
    *("Image Path", "Image Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D"),
    *("Answer", "Answer Choice", "Question Type"),
)


class Shown(NamedTuple):
    """What a user sees of a command."""

    exit_code: int
    output: str


PATHS = [f"ct_quizze/{n:06d}/Axial_non_contrast.npy" for n in range(4)]
CONDITIONS = ["full", "no_image", "other_image", "blank_image"]


def row(path: str, number: int, caption: str = "Memory loss and atrophy.") -> dict[str, str]:
    choices = ("Brain", "Liver", "Kidney", "NA" if number % 2 else "Lung")
    answer = number % 3
    cells = (path, caption, f"Which organ {number}?", *choices, choices[answer], "ABC"[answer], "3")
    return dict(zip(COLUMNS, cells, strict=True))


def write_table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_array(path: Path, seed: int) -> None:
    """As M3D-Cap's own preparation leaves it: float32 ``(1, D, H, W)``, 0 to 1, black around."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((1, 6, 20, 20), np.float32)
    array[:, :, 3:17, 3:17] = np.random.default_rng(seed).random((1, 6, 14, 14), np.float32)
    np.save(path, array / array.max())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as the end of a training leaves it, with untrained weights."""
    run = tmp_path_factory.mktemp("runs") / "run"
    write_run(run)
    return run


def write_run(run: Path, other: bool = False) -> None:
    model = based_model(run / "bases")
    if other:
        model.query_tokens.data += 1
    model.save_pretrained(run / "model")
    make_recipe(run).write(run / "recipe.yaml")
    (run / "done.json").write_text("{}")
    images = MedBlipImageProcessor({"size": SIZE})
    MedBlipProcessor.for_model(model.config, images, tokenizer()).save_pretrained(run / "model")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vqa_answers, "MAX_NEW_TOKENS", {True: 3, False: 3})
    monkeypatch.setattr(question_volumes, "embedded_reference", lambda: None)
    monkeypatch.setenv("MEDBLIP_CACHE", str(tmp_path / "cache"))


def medblip(*arguments: object) -> Shown:
    shown = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(shown.exception, MedBlipError):  # which the program's entry point prints
        return Shown(shown.exception.exit_code, f"{shown.output}\n{shown.exception}")
    return Shown(
        shown.exit_code, shown.output if shown.exception is None else repr(shown.exception)
    )


@pytest.fixture
def m3d(tmp_path: Path) -> Path:
    """Four volumes with three questions each about the part that the filter keeps, and others."""
    for seed, path in enumerate(PATHS):
        write_array(tmp_path / "root" / path, seed)
    rows = [row(path, n) for path in PATHS for n in range(3)]
    rows += [row(path, 9, caption="A renal cyst.") for path in PATHS]
    table = write_table(tmp_path / "M3D_VQA_test.csv", rows)
    out = tmp_path / "m3d.jsonl"
    shown = medblip(
        "questions", "m3d", table, "--root", tmp_path / "root", "--out", out, "--alzheimer"
    )
    assert shown.exit_code == 0, shown.output
    return out


def evaluated(run: Path, file: Path, *more: object) -> Shown:
    root, out = file.parent / "root", file.parent / "results"
    return medblip(
        "evaluate", run, "--questions-file", file, "--volumes", root, "--out", out, *more
    )


def results(file: Path) -> dict[str, Any]:
    path = file.parent / "results" / "question_results.json"
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


# ------------------------------------------------------------------------- from table to numbers


def test_m3d_from_its_table_to_the_numbers(trained: Path, m3d: Path) -> None:
    shown = evaluated(trained, m3d)
    assert shown.exit_code == 0, shown.output
    told = results(m3d)
    split = told["splits"]["volumes"]
    assert (split["questions"], split["volumes"]) == (12, 4)
    assert list(split["conditions"]) == CONDITIONS
    for condition in split["conditions"].values():
        group = condition["groups"]["m3d-organ"]
        assert (group["n"], group["n_subjects"]) == (12, 4)
        assert group["chance"] == pytest.approx((1 / 4 + 1 / 3 + 1 / 4) / 3)
        assert {"likelihood", "one_order", "strict", "lenient"} <= set(group["scores"])
    assert split["conditions"]["other_image"]["title"] == "Another volume's image"
    assert told["volumes"]["used"] == told["volumes"]["different"] == 4
    assert told["origin"]["filter"] == {
        "seen": 16,
        "kept": 12,
        "only_weak": 0,
        "by_term": {"memory loss": 12},
    }


def test_every_output_says_that_it_is_ct_and_for_research(trained: Path, m3d: Path) -> None:
    shown = evaluated(trained, m3d)
    told = results(m3d)
    table = pd.read_csv(m3d.parent / "results" / "question_answers.tsv", sep="\t", dtype=str)
    assert len(table) == 12 and sorted(set(table["volume"])) == PATHS
    assert set(table["modality"]) == {"CT"} and set(table["notice"]) == {RESEARCH_USE}
    for text in (shown.output, " ".join(told["told"])):
        assert "These volumes are CT" in text and "out of its distribution" in text
        assert "not trained on questions" in text
    assert RESEARCH_USE in shown.output and told["notice"] == RESEARCH_USE
    assert "4 geometry-assumed" in [
        f"{f['times']} {f['first']['code']}" for f in told["volumes"]["findings"]
    ]


def test_each_condition_shows_what_it_says(
    trained: Path, m3d: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, list[str]] = {}
    answers = vqa_answers.KeptReplies.answers

    def noted(self: Any, name: str, questions: Any, scans: Any, condition: str) -> Any:
        shown[condition] = [seen.image for seen in scans]
        return answers(self, name, questions, scans, condition)

    monkeypatch.setattr(vqa_answers.KeptReplies, "answers", noted)
    assert evaluated(trained, m3d).exit_code == 0
    assert len(set(shown["full"])) == 4
    assert sorted(set(shown["other_image"])) == sorted(set(shown["full"]))
    pairs = zip(shown["full"], shown["other_image"], strict=True)
    assert all(own != other for own, other in pairs)
    assert set(shown["no_image"]) == {""} and set(shown["blank_image"]) == {"(blank)"}


def test_an_interrupted_evaluation_goes_on_and_a_changed_volume_is_asked_anew(
    trained: Path, m3d: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = vqa_answers.reply
    monkeypatch.setattr(
        vqa_answers, "reply", lambda *a, **k: asked.append(len(a[1])) or ask(*a, **k)
    )
    assert evaluated(trained, m3d).exit_code == 0
    before = results(m3d)
    (kept,) = (m3d.parent / "results" / "scores").glob("*/questions.volumes.full.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 4 * (4 + 3 + 4)  # a prompt for each order of the choices
    kept.write_text("".join(lines[:-2]))
    asked.clear()
    assert evaluated(trained, m3d).exit_code == 0
    assert sum(asked) == 2 and results(m3d) == before
    write_array(m3d.parent / "root" / PATHS[0], seed=99)
    asked.clear()
    assert evaluated(trained, m3d).exit_code == 0
    assert sum(asked) == 11  # with the new image; all else was asked before


def test_replies_of_another_model_are_not_taken_for_this_ones(
    trained: Path, m3d: Path, tmp_path: Path
) -> None:
    assert evaluated(trained, m3d).exit_code == 0
    write_run(tmp_path / "other", other=True)
    assert evaluated(tmp_path / "other", m3d).exit_code == 0
    one, two = (m3d.parent / "results" / "scores").iterdir()
    texts = [(folder / "questions.volumes.full.jsonl").read_text() for folder in (one, two)]
    assert texts[0] != texts[1]


def test_a_sample_of_each_kind_reads_its_volumes_only(trained: Path, m3d: Path) -> None:
    assert evaluated(trained, m3d, "--most", 2, "--json").exit_code == 0
    told = results(m3d)
    assert told["splits"]["volumes"]["questions"] == 2 and told["volumes"]["used"] == 2
    assert told["lines"]["read"] == 12 and told["most_of_each_kind"] == 2


# ------------------------------------------------------------------------------ what is left out


def test_bad_volumes_and_lines_are_listed_with_their_questions(
    trained: Path, m3d: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    write_array(tmp_path / "outside.npy", seed=7)
    (root / "link.npy").symlink_to(tmp_path / "outside.npy")
    (root / "cut.npy").write_bytes((root / PATHS[0]).read_bytes()[:-8])
    (root / "text.npy").write_text("not an array")
    header = io.BytesIO()
    huge = {"descr": "<f4", "fortran_order": False, "shape": (1, 10**6, 10**6, 10**6)}
    np.lib.format.write_array_header_1_0(header, huge)
    (root / "huge.npy").write_bytes(header.getvalue())
    (root / "report.pdf").write_bytes(b"%PDF-1.4 report")
    codes = {
        "gone.npy": "missing-file",
        "link.npy": "outside-root",
        "cut.npy": "truncated-file",
        "text.npy": "not-npy",
        "huge.npy": "too-large",
        "report.pdf": "not-a-volume",
    }
    with m3d.open("a") as handle:
        for name in codes:
            line = {"id": f"about-{name}", "volume": name, "kind": "k", "text": "?", "answer": "a"}
            handle.write(json.dumps(line) + "\n")
        handle.write(json.dumps(line | {"id": "above", "volume": "../outside.npy"}) + "\n")
        handle.write("{\n")
    origin_path(m3d).unlink()
    shown = evaluated(trained, m3d)
    assert shown.exit_code == 4, shown.output
    told = results(m3d)
    assert {v["volume"]: v["code"] for v in told["volumes"]["skipped"]} == codes
    assert all(v["questions"] == [f"about-{v['volume']}"] for v in told["volumes"]["skipped"])
    assert [f["code"] for f in told["lines"]["findings"]] == ["unsafe-path", "not-json"]
    assert told["splits"]["volumes"]["questions"] == 12 and told["lines"]["skipped"] == 2
    assert "asked by about-gone.npy" in shown.output
    assert "2 lines and 6 volumes, with 6 questions" in shown.output
    assert "modality of these volumes is not known" in shown.output
    assert told["origin"] is None


def test_where_nothing_can_be_shown_nothing_is_written(
    trained: Path, m3d: Path, tmp_path: Path
) -> None:
    for path in PATHS:
        (tmp_path / "root" / path).write_text("not an array")
    shown = evaluated(trained, m3d)
    assert shown.exit_code == 3 and "4 not-npy" in shown.output
    assert not (tmp_path / "results").exists()
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    shown = evaluated(trained, m3d)
    assert shown.exit_code == 3 and "no such folder" in shown.output
    about = Question("q", SessionImage("sub-1", "ses-1"), "Which?", "k", "x", ("x", "y"))
    write_questions(tmp_path / "sessions.jsonl", [about])
    shown = evaluated(trained, tmp_path / "sessions.jsonl")
    assert shown.exit_code == 3 and "about a volume file" in shown.output


def test_counts_of_a_file_that_was_changed_are_not_told(trained: Path, m3d: Path) -> None:
    m3d.write_text("".join(m3d.read_text().splitlines(keepends=True)[1:]))
    shown = evaluated(trained, m3d)
    assert shown.exit_code == 3 and "has been changed since" in shown.output
    origin_path(m3d).write_text("[]")
    assert evaluated(trained, m3d).exit_code == 3


@pytest.mark.parametrize(
    "given",
    [
        ("--questions-file", "m3d.jsonl"),
        ("--questions-file", "m3d.jsonl", "--volumes", ".", "--study", "study"),
        ("--questions-file", "m3d.jsonl", "--volumes", ".", "--questions"),
        ("--study", "study", "--out", "results"),
        (),
    ],
)
def test_a_study_and_a_file_are_not_mixed(trained: Path, given: tuple[str, ...]) -> None:
    shown = medblip("evaluate", trained, *given)
    assert shown.exit_code == 2, shown.output


# ------------------------------------------------------------------------------ NIfTI, one image


def test_nifti_goes_through_the_gate(trained: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    head = head_scan()
    nib.save(nib.Nifti1Image(head.array, head.affine), root / "head.nii.gz")
    mask = (head.array > 20).astype(np.float32)
    nib.save(nib.Nifti1Image(mask, head.affine), root / "mask.nii.gz")
    file = tmp_path / "questions.jsonl"
    write_questions(
        file,
        [
            Question("q1", VolumeFile("head.nii.gz"), "Is it large?", "k", "yes", ("yes", "no")),
            Question("q2", VolumeFile("head.nii.gz"), "How large is it?", "k", "3 mm"),
            Question("q3", VolumeFile("mask.nii.gz"), "Is it large?", "k", "no", ("yes", "no")),
        ],
    )
    shown = evaluated(trained, file)
    assert shown.exit_code == 4, shown.output
    told = results(file)
    (refused,) = told["volumes"]["skipped"]
    assert (refused["code"], refused["questions"]) == ("out-of-scope-labels", ["q3"])
    codes = {finding["first"]["code"] for finding in told["volumes"]["findings"]}
    assert {"thick-slices", "anatomy-not-checked"} <= codes
    split = told["splits"]["volumes"]
    # There is one image, so that none of another volume can be shown.
    assert list(split["conditions"]) == ["full", "no_image", "blank_image"]
    assert any("about one image" in text for text in told["told"])
    assert split["conditions"]["full"]["groups"]["all open"]["n"] == 1


def test_a_copy_is_no_other_volumes_image() -> None:
    names = ("a", "b", "c", "d")
    questions = [Question(n, VolumeFile(n), "Which?", "k", "x", ("x", "y")) for n in names]
    cubes = {"a": "one", "b": "one", "c": "one", "d": "two"}
    other = _shown(questions, question_volumes.QuestionVolumes(cubes))["other_image"]
    assert [scans.image for scans in other] == ["two", "two", "two", "one"]


def test_volumes_of_equal_content_are_one_image(trained: Path, tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        write_array(tmp_path / "root" / name, seed=3)
    file = tmp_path / "questions.jsonl"
    names = ("a.npy", "b.npy")
    write_questions(
        file, [Question(n, VolumeFile(n), "Which?", "k", "x", ("x", "y")) for n in names]
    )
    assert evaluated(trained, file).exit_code == 0
    told = results(file)
    assert (told["volumes"]["used"], told["volumes"]["different"]) == (2, 1)
    assert "other_image" not in told["splits"]["volumes"]["conditions"]


# ------------------------------------------------------------------------------ arrays as cubes


@pytest.mark.parametrize(
    ("plane", "corner"),
    [
        # The last slice, the first row and the first column, at right, front and top.
        ("axial", (1, 1, 1)),
        ("coronal", (1, 0, 1)),
        ("sagittal", (0, 1, 1)),
    ],
)
def test_an_array_is_turned_as_its_plane_says(plane: str, corner: tuple[int, int, int]) -> None:
    array = np.zeros((8, 16, 16), np.float32)
    array[-2:, :4, :4] = 1
    cube = array_cube(array, 16, plane, "x.npy")
    found = np.array(np.nonzero(cube.array > 128)).mean(axis=1) > 7.5
    assert tuple(found.astype(int)) == corner
    assert cube.facts.axcodes == PLANES[plane]


@pytest.mark.parametrize("shape", [(5, 40, 30), (32, 16, 16), (1, 7, 90)])
def test_resizing_keeps_what_is_even_and_spans_all_of_it(shape: tuple[int, int, int]) -> None:
    even = resized(np.full(shape, 0.5, np.float32), 16)
    np.testing.assert_allclose(even, 0.5, rtol=1e-5)  # the borders are not dimmed
    ramp = np.broadcast_to(np.linspace(0, 1, shape[2], dtype=np.float32), shape)
    row_of = resized(np.ascontiguousarray(ramp), 16)[8, 8]
    middle = (np.arange(16) + 0.5) / 16
    expected = (middle * shape[2] - 0.5) / (shape[2] - 1)
    np.testing.assert_allclose(row_of[3:-3], expected[3:-3], atol=0.01)


def test_a_cube_is_kept_by_content_and_made_again_where_it_is_damaged(tmp_path: Path) -> None:
    write_array(tmp_path / "Axial.npy", seed=0)
    maker = VolumeCubes(tmp_path, tmp_path / "cubes", Preprocessing(size=16))
    first = maker.cube("Axial.npy")
    assert first.array.min() == 0 and first.array.max() > 100
    (tmp_path / "Axial.npy").rename(tmp_path / "Axial_2.npy")
    assert maker.cube("Axial_2.npy").cache_file == first.cache_file
    file = tmp_path / "cubes" / first.cache_file
    file.write_bytes(file.read_bytes()[:-100])
    again = maker.cube("Axial_2.npy")
    np.testing.assert_array_equal(again.array, first.array)
    np.testing.assert_array_equal(read_cube(file).array, first.array)
    (tmp_path / "Axial_2.npy").rename(tmp_path / "Coronal.npy")
    assert maker.cube("Coronal.npy").cache_file != first.cache_file
