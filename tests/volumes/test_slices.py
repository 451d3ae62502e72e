"""The picture shows each side where its letters say."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from numpy.typing import NDArray

from medblip.notice import RESEARCH_USE
from medblip.volumes import Cube, Preprocessing, preprocess
from medblip.volumes.slices import Convention, three_planes_figure, three_planes_png
from phantoms import MARKER, head_volume


def marked_cube() -> Cube:
    """A head in which only a ball on the patient's right, front and top is bright."""
    cube = preprocess(head_volume(skull=False), Preprocessing(size=64))
    array = np.where(cube.array > 0, 40, 0).astype(np.uint8)
    index = np.linalg.inv(cube.affine) @ [*MARKER, 1]
    x, y, z = (round(float(value)) for value in index[:3])
    array[x - 4 : x + 5, 20 : y + 5, 20 : z + 5] = 255  # reaches into all three middle planes
    array[30:40, y - 4 : y + 5, z - 4 : z + 5] = 255
    return Cube(array, cube.affine, cube.bounds, cube.facts)


CUBE = marked_cube()


def bright_side(panel: NDArray[np.float64]) -> str:
    columns = np.flatnonzero((panel[..., :3].min(axis=-1) > 0.85).any(axis=0))
    head = np.flatnonzero((panel[..., :3].max(axis=-1) > 0.1).any(axis=0))
    return "left" if columns.mean() < head.mean() else "right"


@pytest.mark.parametrize(
    ("convention", "side"), [("radiological", "left"), ("neurological", "right")]
)
def test_the_patients_right_is_where_the_convention_puts_it(
    convention: Convention, side: str
) -> None:
    picture = matplotlib.image.imread(io.BytesIO(three_planes_png(CUBE, convention=convention)))
    height, width = picture.shape[:2]
    body = picture[int(0.18 * height) : int(0.8 * height)]
    axial, coronal = body[:, : width // 3], body[:, width // 3 : 2 * width // 3]

    assert bright_side(axial) == side
    assert bright_side(coronal) == side


@pytest.mark.parametrize("convention", ["radiological", "neurological"])
def test_letters_name_the_sides(convention: Convention) -> None:
    figure = three_planes_figure(CUBE, "a title", convention)

    letters = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    sides = ["R", "L"] if convention == "radiological" else ["L", "R"]
    assert letters == [sides, sides, ["A", "P"]]


def test_notice_title_and_convention_are_written() -> None:
    words = " ".join(text.get_text() for text in three_planes_figure(CUBE, "scan 7").texts)

    assert RESEARCH_USE in words
    assert "scan 7" in words
    assert "the patient's right is on the picture's left" in words


def test_planes_are_shown_with_front_and_top_up() -> None:
    axial, coronal, sagittal = (
        np.asarray(axes.images[0].get_array()) for axes in three_planes_figure(CUBE).axes
    )
    x, y, z = ((low + high) // 2 for low, high in CUBE.bounds)
    np.testing.assert_array_equal(axial, CUBE.array[::-1, ::-1, z].T)
    np.testing.assert_array_equal(coronal[::-1, ::-1], CUBE.array[:, y, :].T)
    np.testing.assert_array_equal(sagittal, CUBE.array[x, ::-1, ::-1].T)


def test_file_is_small_the_same_and_repeatable(tmp_path: Path) -> None:
    png = three_planes_png(CUBE, tmp_path / "scan.png")

    assert png.startswith(b"\x89PNG")
    assert (tmp_path / "scan.png").read_bytes() == png == three_planes_png(CUBE)
    assert len(png) < 120_000
