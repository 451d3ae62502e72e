"""What was made faster gives the same as the plain way of writing it."""

from __future__ import annotations

import gzip
import io
import itertools
import zlib
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medblip.errors import InputError
from medblip.volumes import Preprocessing, byte_streams, preprocess
from medblip.volumes.grids import Grid, axis_weights
from medblip.volumes.head_blocks import Blocks
from medblip.volumes.head_box import _summed
from medblip.volumes.morphology import dilated
from medblip.volumes.order_statistics import median, quantile
from medblip.volumes.resampling import resample_parallel, resampled_planes
from phantoms import head_volume

RNG = np.random.default_rng(3)
# Every order of the axes in memory, forwards and partly backwards.
VIEWS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in [(1, 1, 1), (-1, 1, -1)]
]


def laid_out(array: np.ndarray, order: tuple[int, ...], flips: tuple[int, ...]) -> np.ndarray:
    """The same values, lying otherwise in memory."""
    view = tuple(slice(None, None, flip) for flip in flips)
    stored = np.ascontiguousarray(array[view].transpose(order))
    return stored.transpose(np.argsort(order))[view]


@pytest.mark.parametrize(("order", "flips"), VIEWS)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_memory_layout_changes_nothing(
    order: tuple[int, ...], flips: tuple[int, ...], dtype: type
) -> None:
    plain = RNG.normal(0, 900, (19, 23, 29)).astype(dtype)
    array = laid_out(plain, order, flips)
    to_source = np.diag([1.3, 0.8, 1.9, 1.0])
    to_source[:3, 3] = (-2.2, 1.4, 0.3)
    grid = Grid(to_source, (1, 0, 2), (15, 24, 13))
    assert grid.is_parallel()
    matrices = [axis_weights(grid, axis, plain.shape[axis]) for axis in range(3)]
    expected = np.einsum("ai,bj,ck,ijk->abc", *matrices, plain, optimize=True)
    np.testing.assert_allclose(resample_parallel(array, grid), expected, rtol=0, atol=2e-3)
    assert {axis for axis, _, _ in resampled_planes(array, matrices)} <= {0, 1}

    mask = laid_out(plain > -300, order, flips)
    for axis in range(3):
        np.testing.assert_array_equal(_summed(mask, axis), (plain > -300).sum(axis=axis))


@pytest.mark.parametrize(("order", "flips"), VIEWS)
def test_memory_layout_changes_no_cube(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    volume = head_volume((44, 50, 46), voxel_mm=4.4, noise=3.0)
    array = np.rint(volume.array).astype(np.int16)
    settings = Preprocessing(size=40)
    expected = preprocess(replace(volume, array=array), settings)
    cube = preprocess(replace(volume, array=laid_out(array, order, flips)), settings)
    np.testing.assert_array_equal(cube.affine, expected.affine)
    off = np.abs(cube.array.astype(int) - expected.array)
    assert off.max() <= 1, "sums in another sequence may round otherwise"
    assert np.count_nonzero(off) < 10


def test_sums_of_a_mask_beyond_a_byte() -> None:
    mask = np.ones((2, 700, 3), dtype=bool)
    np.testing.assert_array_equal(_summed(mask, 1), np.full((2, 3), 700))


@pytest.mark.parametrize("size", [1, 2, 3, 50, 4097, 60_000])
@pytest.mark.parametrize("kind", ["normal", "whole", "zeros", "ordered", "periodic"])
def test_order_statistics_are_numpys(size: int, kind: str) -> None:
    values = {
        "normal": RNG.normal(0, 1, size),
        "whole": RNG.integers(0, 40, size),
        "zeros": np.maximum(0, RNG.normal(-2, 1, size)),
        "ordered": np.sort(RNG.random(size)),
        "periodic": np.arange(size) % max(1, size // 4096),
    }[kind].astype(np.float32)
    assert median(values) == float(np.median(values))
    for fraction in (0.0, 0.3, 0.5, 0.999, 1.0):
        assert quantile(values, fraction) == float(np.quantile(values, fraction))


@pytest.mark.parametrize("iterations", [1, 2])
def test_dilation_is_scipys(iterations: int) -> None:
    mask = RNG.random((12, 9, 11)) > 0.97
    full = ndimage.generate_binary_structure(3, 2)
    expected = ndimage.binary_dilation(mask, full, iterations=iterations)
    np.testing.assert_array_equal(dilated(mask, iterations), expected)


@pytest.mark.parametrize("shape", [(8, 6, 10), (88, 64, 32)])
@pytest.mark.parametrize("whole", [True, False])
def test_block_means_are_numpys(shape: tuple[int, int, int], *, whole: bool) -> None:
    blocks = Blocks((4, 4, 4), (2, 2, 2))
    values = RNG.normal(0, 100, shape)
    sampled = (np.rint(values) if whole else values).astype(np.float32)
    x, y, z = (n // 2 for n in shape)
    expected = sampled.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(blocks.means(sampled), expected, rtol=0, atol=0 if whole else 1e-4)


@pytest.mark.parametrize("library", ["isal", "zlib"])
def test_every_inflater_checks_the_same(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two members are read as one; a wrong checksum and a cut are told apart."""
    inflater = zlib if library == "zlib" else pytest.importorskip("isal.isal_zlib")
    monkeypatch.setattr(byte_streams, "_inflate", inflater)
    data = RNG.integers(0, 99, 400_000).astype(np.uint8).tobytes()
    packed = gzip.compress(data)
    assert _read(packed + packed, len(data) * 2) == data * 2
    wrong = bytearray(packed)
    wrong[-6] ^= 1
    for content, code in ((bytes(wrong), "corrupt-gzip"), (packed[:-20], "truncated-file")):
        with pytest.raises(InputError) as caught:
            _read(content, len(data))
        assert caught.value.code == code


def _read(content: bytes, size: int) -> bytes:
    stream = byte_streams.GzipStream(io.BytesIO(content), len(content), "scan.nii.gz")
    return stream.read(size) + stream.read(1)
