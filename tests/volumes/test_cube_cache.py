"""The cache gives back the same cube, survives damage and many writers, and holds no names."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import fault_files
from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.volumes import (
    Cube,
    Preprocessing,
    ReadLimits,
    Volume,
    load_cube,
    map_cube_array,
    read_cube,
    write_cube,
)
from phantoms import head_volume

SMALL = Preprocessing(size=32)
HEAD = head_volume((40, 48, 44), voxel_mm=4.5)


def scan_file(folder: Path, name: str = "sub-ANNA_T1w.nii.gz") -> Path:
    """A scan with bytes after its end, so that there is a finding to keep."""
    path = folder / name
    nib.Nifti1Image(HEAD.array.astype("i2"), HEAD.affine).to_filename(path)
    path.write_bytes(path.read_bytes() + b"left over")
    return path


def assert_same(first: Cube, second: Cube) -> None:
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_array_equal(first.affine, second.affine)
    for field in ("bounds", "facts", "findings", "source", "source_sha256"):
        assert getattr(first, field) == getattr(second, field), field


def test_second_load_reads_the_cache_and_gives_the_same(tmp_path: Path) -> None:
    path, cache = scan_file(tmp_path), tmp_path / "cache"
    plain = load_cube(path, SMALL)
    first = load_cube(path, SMALL, cache)
    stamp = (cache / first.cache_file).stat().st_mtime_ns

    second = load_cube(path, SMALL, cache)

    assert_same(plain, first)
    assert_same(first, second)
    assert second.cache_file == first.cache_file
    assert (cache / first.cache_file).stat().st_mtime_ns == stamp
    assert [finding.code for finding in second.findings] == ["trailing-bytes"]
    assert len(second.source_sha256) == 64


def test_key_holds_content_settings_and_options(tmp_path: Path) -> None:
    path, cache = scan_file(tmp_path), tmp_path / "cache"
    other = scan_file(tmp_path, "other.nii.gz")
    load_cube(path, SMALL, cache)
    assert load_cube(other, SMALL, cache).source == "other.nii.gz", "same bytes, another name"
    assert len(list(cache.iterdir())) == 1

    other.write_bytes(other.read_bytes() + b"!")
    load_cube(other, SMALL, cache)
    load_cube(path, replace(SMALL, margin_mm=5), cache)
    load_cube(path, SMALL, cache, volume_index=0)
    load_cube(path, SMALL, cache, limits=ReadLimits(min_extent_mm=50))

    assert len(list(cache.iterdir())) == 5


def test_a_stricter_limit_is_not_evaded_by_the_cache(tmp_path: Path) -> None:
    path = scan_file(tmp_path)
    load_cube(path, SMALL, tmp_path / "cache")
    with pytest.raises(InputError, match="min_extent_mm"):
        load_cube(path, SMALL, tmp_path / "cache", limits=ReadLimits(min_extent_mm=500))


def test_both_files_of_a_pair_count(tmp_path: Path) -> None:
    header = tmp_path / "scan.hdr"
    nib.Nifti1Pair(HEAD.array, HEAD.affine).to_filename(header)
    first = load_cube(header, SMALL, tmp_path / "cache")
    nib.Nifti1Pair(HEAD.array[::-1], HEAD.affine).to_filename(header)

    second = load_cube(header, SMALL, tmp_path / "cache")

    assert second.source_sha256 != first.source_sha256
    assert (second.array != first.array).any()


def test_a_cube_that_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    for read in (read_cube, map_cube_array):
        with pytest.raises(InputError, match="--cache") as caught:
            read(tmp_path / "gone.safetensors")
        assert caught.value.code == "missing-file"


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_a_cut_file_is_made_again(keep: int, tmp_path: Path) -> None:
    path, cache = scan_file(tmp_path), tmp_path / "cache"
    whole = load_cube(path, SMALL, cache)
    file = cache / whole.cache_file
    file.write_bytes(file.read_bytes()[:keep])

    with pytest.raises(InputError) as caught:
        read_cube(file)
    assert caught.value.code == "corrupt-cube"
    with pytest.raises(InputError) as caught:
        map_cube_array(file)
    assert caught.value.code == "corrupt-cube"
    assert_same(load_cube(path, SMALL, cache), whole)
    assert_same(read_cube(file, whole.source), whole)


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path, cache = scan_file(tmp_path), tmp_path / "cache"
    whole = load_cube(path, SMALL, cache)
    file = cache / whole.cache_file
    content = file.read_bytes()
    data_start = len(content) - whole.array.size
    for position in [0, 9, *range(data_start, len(content), 5000), len(content) - 1]:
        damaged = bytearray(content)
        damaged[position] ^= 0x40
        file.write_bytes(damaged)
        with pytest.raises(InputError):
            read_cube(file)
    assert_same(load_cube(path, SMALL, cache), whole)


def test_another_format_in_its_place_is_made_again(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path, cache = scan_file(tmp_path), tmp_path / "cache"
    whole = load_cube(path, SMALL, cache)
    save_file({"array": whole.array}, cache / whole.cache_file, {"format": "older"})

    assert_same(load_cube(path, SMALL, cache), whole)


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    path, cache = scan_file(tmp_path), tmp_path / "cache"
    with ThreadPoolExecutor(8) as pool:
        cubes = list(pool.map(lambda _: load_cube(path, SMALL, cache), range(16)))

    assert len({cube.array.tobytes() for cube in cubes}) == 1
    assert [file.name for file in cache.iterdir()] == [cubes[0].cache_file], "no part is left"
    assert_same(read_cube(cache / cubes[0].cache_file, cubes[0].source), cubes[0])


def test_no_name_of_the_scan_is_stored(tmp_path: Path) -> None:
    cube = load_cube(scan_file(tmp_path), SMALL, tmp_path / "cache")

    assert cube.findings[0].where == "sub-ANNA_T1w.nii.gz"
    assert b"ANNA" not in (tmp_path / "cache" / cube.cache_file).read_bytes()


def test_array_is_mapped_and_not_writable(tmp_path: Path) -> None:
    cube = load_cube(scan_file(tmp_path), SMALL, tmp_path / "cache")

    mapped = map_cube_array(tmp_path / "cache" / cube.cache_file)

    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, cube.array)
    assert not mapped.flags.writeable


def test_file_is_plain_safetensors(tmp_path: Path) -> None:
    from safetensors import safe_open

    cube = load_cube(scan_file(tmp_path), SMALL, tmp_path / "cache")
    with safe_open(tmp_path / "cache" / cube.cache_file, framework="numpy") as stored:
        facts = json.loads(stored.metadata()["cube"])
        assert set(stored.keys()) == {"array"}
    assert facts["bounds"] == [list(pair) for pair in cube.bounds]
    assert facts["facts"]["shape"] == [40, 48, 44]


def test_unwritable_cache_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="another cache folder") as caught:
        load_cube(scan_file(tmp_path), SMALL, tmp_path / "cache")
    assert caught.value.code == "cache-unwritable"


def test_a_bad_scan_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_cube(fault_files.constant(tmp_path), SMALL, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_gate_sees_ras_and_its_findings_are_kept(tmp_path: Path) -> None:
    seen: list[str] = []

    def gate(volume: Volume) -> tuple[Finding, ...]:
        seen.append(volume.axcodes)
        return (Finding("contrast-agent", "warning", volume.source, "bright vessels"),)

    path, cache = scan_file(tmp_path), tmp_path / "cache"
    cubes = [load_cube(path, SMALL, cache, gate=gate, gate_version="1") for _ in range(2)]
    load_cube(path, SMALL, cache, gate=gate, gate_version="2")

    assert seen == ["RAS", "RAS"], "the second load came from the cache, the third did not"
    for cube in cubes:
        assert [f.code for f in cube.findings] == ["trailing-bytes", "contrast-agent"]


def test_gate_refuses(tmp_path: Path) -> None:
    def gate(volume: Volume) -> tuple[Finding, ...]:
        return (Finding("out-of-scope", "error", volume.source, "is a CT scan", "give a T1 scan"),)

    with pytest.raises(InputError, match="CT scan") as caught:
        load_cube(scan_file(tmp_path), SMALL, tmp_path / "cache", gate=gate)
    assert caught.value.code == "out-of-scope"
    assert not (tmp_path / "cache").exists()


def test_a_cube_made_in_memory_is_stored_whole(tmp_path: Path) -> None:
    from medblip.volumes import preprocess

    cube = preprocess(HEAD, SMALL)
    write_cube(cube, tmp_path / "cube.safetensors")
    assert_same(read_cube(tmp_path / "cube.safetensors", cube.source), cube)
