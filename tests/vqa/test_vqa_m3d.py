"""M3D-VQA: its CSV with the faults such files have, its volumes, and our filter."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from medblip.errors import InputError
from medblip.volumes import ReadLimits
from medblip.vqa.filter_terms import TermFilter, ad_filter, read_filter
from medblip.vqa.m3d import read_m3d
from medblip.vqa.m3d_volume import read_m3d_volume

COLUMNS = (
    *("Image Path", "Image Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D"),
    *("Answer", "Answer Choice", "Question Type"),
)
CELLS = (
    *("ct/1/Axial.npy", "A report.", "Which plane is shown?", "Axial", "Sagittal", "Coronal"),
    *("Oblique", "Coronal", "C", "1"),
)
GOOD = dict(zip(COLUMNS, CELLS, strict=True))


def written(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "M3D_VQA_test.csv"
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_row_becomes_a_question_without_its_caption(tmp_path: Path) -> None:
    caption = 'Says "coronal",\nover two lines, with a comma'
    read = read_m3d(written(tmp_path, {**GOOD, "Image Caption": caption}))
    (question,) = read.questions
    assert question.choices == ("Axial", "Sagittal", "Coronal", "Oblique")
    assert (question.answer, question.answer_index) == ("Coronal", 2)
    assert question.kind == "m3d-plane"
    assert "two lines" not in repr(question)
    assert read.findings == ()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Choice B": ""}, "missing-choices"),
        ({"Choice D": ""}, "missing-choices"),
        ({"Choice B": "NA"}, "missing-choices"),
        ({"Choice B": "NA", "Choice C": "NA", "Choice D": "NA"}, "missing-choices"),
        ({"Answer": "Dorsal"}, "answer-not-among-choices"),
        ({"Answer": ""}, "answer-not-among-choices"),
        ({"Answer Choice": "A"}, "answer-choice-disagrees"),
        ({"Answer Choice": "E"}, "unknown-value"),
        ({"Choice A": "coronal."}, "equal-choices"),
        ({"Question Type": "6"}, "unknown-value"),
        ({"Question": " "}, "missing-field"),
        ({"Image Path": "../1.npy"}, "unsafe-path"),
        ({"Image Path": "C:\\1.npy"}, "unsafe-path"),
    ],
)
def test_a_bad_row_is_one_finding(tmp_path: Path, change: dict[str, str], code: str) -> None:
    other = {**GOOD, "Image Path": "ct/2/Axial.npy"}
    read = read_m3d(written(tmp_path, {**GOOD, **change}, other))
    assert len(read.questions) == 1
    assert [(f.code, f.where) for f in read.findings] == [(code, "M3D_VQA_test.csv line 2")]


def test_repeated_rows_and_rows_of_another_width_are_listed(tmp_path: Path) -> None:
    other = {"Choice A": "Dorsal"}  # the same question with other choices is another one
    path = written(tmp_path, GOOD, {**GOOD, "Question": "which plane  is shown?"}, GOOD | other)
    with path.open("a") as handle:
        handle.write("ct/3.npy,only three,cells\n")
    read = read_m3d(path)
    assert [q.choices[0] for q in read.questions] == ["Axial", "Dorsal"]
    assert read.counts == {"duplicate-question": 1, "ragged-row": 1}
    assert read.skipped == 2


def test_shorter_questions_are_read_with_a_note(tmp_path: Path) -> None:
    short = {"Choice C": "NA", "Choice D": "NA", "Answer": "axial.", "Answer Choice": "A."}
    read = read_m3d(written(tmp_path, {**GOOD, **short, "Question Type": "5.0"}))
    (question,) = read.questions
    assert (question.choices, question.answer) == (("Axial", "Sagittal"), "Axial")
    assert [(f.code, f.level) for f in read.findings] == [("fewer-choices", "note")]
    assert read.skipped == 0


def test_volumes_that_are_not_there_are_listed(tmp_path: Path) -> None:
    read = read_m3d(written(tmp_path, GOOD), root=tmp_path)
    assert read.counts == {"missing-file": 1}


def test_a_table_without_the_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("Question,Answer\na,b\n")
    with pytest.raises(InputError) as caught:
        read_m3d(path)
    assert caught.value.code == "missing-column"


# ------------------------------------------------------------------------------ the filter


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Known Alzheimer\u2019s disease with hippocampal atrophy", True),
        ("ALZHEIMER type dementia", True),
        ("Memory\nloss for a year", True),
        ("Cerebral atrophy in keeping with age", False),  # a sign alone is of many diseases
        ("Vascular dementia", False),
        ("Vascular dementia and Alzheimer disease", True),
        ("Predementia-like hydrocephalus", False),  # part of a word
        ("Renal cyst", False),
    ],
)
def test_the_filter_keeps_what_its_list_says(text: str, kept: bool) -> None:
    terms = ad_filter()
    assert terms.keeps(text) is kept
    assert (terms.counts.seen, terms.counts.kept) == (1, int(kept))


def test_the_filter_counts_what_it_found(tmp_path: Path) -> None:
    terms = TermFilter({"dementia": "dementia", "brain atrophy": "finding"}, ["hiv dementia"])
    rows = ("dementia", "hiv dementia", "brain atrophy", "dementia with brain atrophy")
    path = written(
        tmp_path,
        *({**GOOD, "Image Path": f"{n}.npy", "Image Caption": c} for n, c in enumerate(rows)),
    )
    assert len(read_m3d(path, terms=terms).questions) == 2
    assert terms.counts.by_term == {"dementia": 2, "hiv dementia": 1, "brain atrophy": 2}
    assert (terms.counts.seen, terms.counts.kept, terms.counts.only_weak) == (4, 2, 1)


def test_a_list_of_terms_with_another_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("term\tgroup\tuse\treason\nx\tdisease\tmaybe\t-\n")
    with pytest.raises(InputError, match="line 2"):
        read_filter(path)


# ------------------------------------------------------------------------------ the volumes


def saved(folder: Path, array: np.ndarray) -> str:
    np.save(folder / "v.npy", array)
    return "v.npy"


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8"])
def test_a_volume_comes_back_as_it_was(tmp_path: Path, dtype: str) -> None:
    array = np.random.default_rng(0).random((1, 4, 5, 6)).astype(dtype)
    read = read_m3d_volume(saved(tmp_path, array), tmp_path)
    assert (read.shape, read.dtype) == ((4, 5, 6), np.float32)
    np.testing.assert_array_equal(read, array[0].astype(np.float32))


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((4, 5, 6), np.float32), "wrong-shape"),
        (np.zeros((3, 4, 5, 6), np.float32), "wrong-shape"),
        (np.zeros((1, 0, 5, 6), np.float32), "wrong-shape"),
        (np.zeros((1, 4, 5, 6), np.uint8), "wrong-dtype"),
        (np.array([[[[{"a": 1}]]]], object), "wrong-dtype"),
        (np.asfortranarray(np.random.default_rng(0).random((1, 4, 5, 6))), "wrong-layout"),
        (np.full((1, 2, 2, 2), np.nan, np.float32), "nonfinite"),
        (np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2), "not-scaled"),
        (np.full((1, 2, 2, 2), 0.5, np.float32), "flat-volume"),
    ],
)
def test_what_is_no_volume_of_m3d_is_refused(tmp_path: Path, array: np.ndarray, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_m3d_volume(saved(tmp_path, array), tmp_path)
    assert caught.value.code == code


def test_a_header_is_believed_only_as_far_as_the_file_goes(tmp_path: Path) -> None:
    header = io.BytesIO()
    huge = {"descr": "<f4", "fortran_order": False, "shape": (1, 10**6, 10**6, 10**6)}
    np.lib.format.write_array_header_1_0(header, huge)
    (tmp_path / "huge.npy").write_bytes(header.getvalue())
    whole = saved(tmp_path, np.random.default_rng(0).random((1, 4, 5, 6)))
    data = (tmp_path / whole).read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-8])
    (tmp_path / "long.npy").write_bytes(data + b"\0")
    (tmp_path / "text.npy").write_bytes(b"not an array")
    codes = {"huge": "too-large", "cut": "truncated-file", "long": "truncated-file"}
    for name, code in {**codes, "text": "not-npy", "gone": "missing-file"}.items():
        with pytest.raises(InputError) as caught:
            read_m3d_volume(f"{name}.npy", tmp_path)
        assert caught.value.code == code, name
    with pytest.raises(InputError) as caught:
        read_m3d_volume(whole, tmp_path, ReadLimits(max_voxels=100))
    assert caught.value.code == "too-large"
