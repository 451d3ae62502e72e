"""Scans unlike the others are found and named by their line, and are on the page as pictures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from leak_maker import load, make, thumbnails, worse_than_notes

from medblip.study.audit import audit
from medblip.study.audit_page import gray_png, write_audit
from medblip.study.thumbnails import thumbnail


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda cube: cube[:, ::-1], "turned-image"),
        (lambda cube: cube.transpose(0, 2, 1), "turned-image"),
        (lambda cube: cube[::-1, ::-1, ::-1], "turned-image"),
        (lambda cube: cube[::-1], "turned-image"),
        (lambda cube: np.where(cube > 0, 255, 0).astype(np.uint8), "odd-intensities"),
        (lambda cube: np.where(cube > 0, 255 - cube // 2, 0).astype(np.uint8), "odd-intensities"),
    ],
    ids=["front-back", "tilted", "all-axes", "left-right", "mask", "inverted"],
)
def test_an_odd_scan_is_found_and_named_by_its_line(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], code: str
) -> None:
    made = make()
    made.images["kind"] = "raw"
    study = load(tmp_path, made)
    odd = made.images["cube"].iloc[11]
    made.cubes[odd] = np.ascontiguousarray(change(made.cubes[odd]))
    result = audit(study, thumbnails(made))
    finding = worse_than_notes(result.findings)[code]
    assert finding.level == "warning"
    assert finding.where == "images.tsv line 13"
    assert {outlier.line for outlier in result.outliers} == {13}


def test_a_head_of_another_size_is_found(tmp_path: Path) -> None:
    made = make()
    made.images["kind"] = "raw"
    study = load(tmp_path, made)
    sizes = thumbnails(made)
    wrong = made.images["cube"].iloc[11]
    sizes[wrong] = thumbnail(made.cubes[wrong], 9.0)  # the others have voxels of 5 mm
    result = audit(study, sizes)
    assert worse_than_notes(result.findings)["odd-head-size"].where == "images.tsv line 13"


def test_an_odd_scan_is_on_the_page_as_a_small_picture(tmp_path: Path) -> None:
    made = make()
    made.images["kind"] = "raw"
    study = load(tmp_path, made)
    odd = made.images["cube"].iloc[11]
    made.cubes[odd] = np.ascontiguousarray(made.cubes[odd][:, ::-1])
    looked_at = thumbnails(made)
    result = audit(study, looked_at)
    write_audit(study, result, tmp_path / "audit.html", looked_at)
    page = (tmp_path / "audit.html").read_text()
    (source,) = re.findall(r'src="([^"]*)"', page)
    kind, _, data = source.partition(",")
    assert kind == "data:image/png;base64"
    drawn = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)), format="png")
    planes = np.hstack(list(looked_at[odd].planes))
    np.testing.assert_allclose(255 * drawn, planes, atol=0.01)
    assert "images.tsv line 13" in page
    assert odd not in page
    assert not [name for name in made.sessions["participant_id"] if name in page]


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (32, 96)])
def test_pictures_are_read_back_by_another_program(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    read = matplotlib.image.imread(io.BytesIO(gray_png(picture)), format="png")
    np.testing.assert_allclose(255 * read, picture, atol=0.01)
