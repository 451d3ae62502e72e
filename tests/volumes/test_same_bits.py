"""What was made faster gives the same bits as the plain way of writing it."""

from __future__ import annotations

import gzip
import io
import itertools
import zlib

import numpy as np
import pytest
from scipy import ndimage, sparse

from medblip.errors import InputError
from medblip.volumes import byte_streams
from medblip.volumes.head_box import _summed
from medblip.volumes.head_mask import Blocks, _dilated
from medblip.volumes.masked_sample import every_nth
from medblip.volumes.order_statistics import median, quantile
from medblip.volumes.resampling import _along

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
def test_memory_layout_changes_no_bit(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    plain = RNG.normal(0, 1, (19, 23, 29)).astype(np.float32)
    array = laid_out(plain, order, flips)
    mask = laid_out(plain > -0.3, order, flips)
    for axis in range(3):
        weights = sparse.random_array(
            (7, plain.shape[axis]), density=0.4, rng=RNG, dtype=np.float32, format="csr"
        )
        moved = np.moveaxis(plain, axis, 0)
        flat = np.ascontiguousarray(moved).reshape(len(moved), -1)
        expected = np.moveaxis((weights @ flat).reshape(7, *moved.shape[1:]), 0, axis)
        np.testing.assert_array_equal(_along(array, weights, axis), expected)
        np.testing.assert_array_equal(_summed(mask, axis), (plain > -0.3).sum(axis=axis))
    for step in (1, 2, 7, 5000):
        np.testing.assert_array_equal(
            np.sort(every_nth(array, mask, step)), np.sort(plain[plain > -0.3][::step])
        )


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
    np.testing.assert_array_equal(_dilated(mask, iterations), expected)


@pytest.mark.parametrize("shape", [(8, 6, 10), (88, 64, 32)])
@pytest.mark.parametrize("whole", [True, False])
def test_block_means_are_numpys(shape: tuple[int, int, int], *, whole: bool) -> None:
    blocks = Blocks((4, 4, 4), (2, 2, 2))
    values = RNG.normal(0, 100, shape)
    sampled = (np.rint(values) if whole else values).astype(np.float32)
    x, y, z = (n // 2 for n in shape)
    expected = sampled.reshape(x, 2, y, 2, z, 2).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(blocks.means(sampled), expected)


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
