"""Scans inside archives are what they are outside, and no archive can do harm."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import dicom_makers as makers
import fault_files
from medblip.errors import InputError
from medblip.volumes import Volume, load_cube, read_volume, scan_sha256
from medblip.volumes.archives import (
    ArchiveLimits,
    is_archive,
    members,
    read_member,
    read_members,
)
from medblip.volumes.preprocessing import Preprocessing
from medblip.volumes.scan_sources import scan_stamp

Files = Mapping[str, bytes]


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path, "w:gz" if path.name.lower().endswith("gz") else "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


WRITERS: dict[str, Callable[[Path, Files], Path]] = {
    "a.zip": write_zip,
    "a.tar": write_tar,
    "a.tar.gz": write_tar,
    "A.TGZ": write_tar,
}
every_kind = pytest.mark.parametrize("name", WRITERS)


def pack(folder: Path, name: str, files: Files) -> Path:
    folder.mkdir(exist_ok=True)
    return WRITERS[name](folder / name, files)


def nifti(folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    return fault_files.good(folder).read_bytes()


def assert_same(first: Volume, second: Volume) -> None:
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_array_equal(first.affine, second.affine)


@every_kind
def test_members_are_files_with_their_sizes(name: str, tmp_path: Path) -> None:
    files = {"visit/a.txt": b"one", f"visit/{'long' * 40}/b.bin": bytes(70_000), "ä.nii": b""}
    archive = pack(tmp_path, name, files)

    found = members(archive)

    assert is_archive(archive)
    assert [(member.name, member.size) for member in found] == [
        (name, len(content)) for name, content in files.items()
    ]
    for member in found:
        assert read_member(archive, member.name) == files[member.name]
    groups = [["ä.nii"], ["none", "visit/a.txt"], ["nothing"]]
    assert read_members(archive, groups) == {"ä.nii": b"", "visit/a.txt": b"one"}


@every_kind
def test_any_order_of_reading(name: str, tmp_path: Path) -> None:
    files = {f"{number:03}.bin": os.urandom(3000 + number) for number in range(40)}
    archive = pack(tmp_path, name, files)
    for number in (5, 6, 39, 0, 20, 20, 19, 39):
        assert read_member(archive, f"{number:03}.bin") == files[f"{number:03}.bin"]
        assert read_members(archive, [["none"]]) == {}


def test_a_changed_archive_is_read_anew(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"x": b"old"})
    assert read_member(archive, "x") == b"old"
    before = scan_stamp(archive / "x")
    write_zip(archive, {"x": b"new one"})
    assert read_member(archive, "x") == b"new one"
    assert scan_stamp(archive / "x") != before
    assert not is_archive(tmp_path / "none.zip")
    assert not is_archive(tmp_path)


@every_kind
def test_a_nifti_inside_is_the_same_as_outside(name: str, tmp_path: Path) -> None:
    content = nifti(tmp_path / "out")
    archive = pack(tmp_path, name, {"visit/notes.txt": b"x", "visit/T1/scan.nii.gz": content})
    outside = read_volume(tmp_path / "out" / "scan.nii.gz")

    inside = read_volume(archive / "visit/T1/scan.nii.gz")

    assert_same(inside, outside)
    assert inside.source == f"{name}/visit/T1/scan.nii.gz"
    assert_same(read_volume(archive), outside)  # its only scan
    assert scan_sha256(archive) == scan_sha256(tmp_path / "out" / "scan.nii.gz")
    rooted = read_volume(archive / "visit/T1/scan.nii.gz", root=tmp_path)
    assert rooted.source == f"{name}/visit/T1/scan.nii.gz"


@every_kind
@pytest.mark.parametrize("named", ["scan.hdr", "scan.img"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_pair_inside(reverse: bool, named: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    header = fault_files.pair(tmp_path / "out")
    halves = [header, header.with_suffix(".img")][:: -1 if reverse else 1]
    files = {f"RAW/{half.name}": half.read_bytes() for half in halves}
    archive = pack(tmp_path, name, {"first.txt": b"x", **files, "last.txt": b"y"})

    assert_same(read_volume(archive / "RAW" / named), read_volume(header))
    lonely = pack(tmp_path / "two", name, {f"RAW/{named}": files[f"RAW/{named}"]})
    with pytest.raises(InputError) as caught:
        read_volume(lonely / "RAW" / named)
    assert caught.value.code == "missing-partner"


@every_kind
def test_a_series_inside(name: str, tmp_path: Path) -> None:
    folder = makers.write(tmp_path / "S1_I11", makers.slices())
    other = makers.write(tmp_path / "S2_I22", makers.slices(makers.picture(seed=9)))
    files = {f"ADNI/{p.parent.name}/{p.name}": p.read_bytes() for p in sorted(folder.iterdir())}
    more = {f"ADNI/{p.parent.name}/{p.name}": p.read_bytes() for p in sorted(other.iterdir())}
    archive = pack(tmp_path, name, {**files, **more})

    assert_same(read_volume(archive / "ADNI/S1_I11"), read_volume(folder))
    assert scan_sha256(archive / "ADNI/S2_I22") == scan_sha256(other)
    assert scan_sha256(archive / "ADNI/S2_I22/*.dcm") == scan_sha256(other)
    with pytest.raises(InputError, match="ADNI/S1_I11, ADNI/S2_I22") as caught:
        read_volume(archive)
    assert caught.value.code == "needs-member"
    one = pack(tmp_path / "one", name, files)
    assert_same(read_volume(one), read_volume(folder))


def test_cubes_are_shared_with_the_unpacked_file(tmp_path: Path) -> None:
    content = nifti(tmp_path / "out")
    archive = write_zip(tmp_path / "a.zip", {"scan.nii.gz": content})
    settings, cache = Preprocessing(size=16), tmp_path / "cache"

    first = load_cube(tmp_path / "out" / "scan.nii.gz", settings, cache)
    second = load_cube(archive / "scan.nii.gz", settings, cache, root=tmp_path)

    assert first.cache_file == second.cache_file
    assert second.source == "a.zip/scan.nii.gz"


# what an archive may not do


def refused(path: Path, **options: object) -> InputError:
    with pytest.raises(InputError) as caught:
        read_volume(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.fix
    return caught.value


@every_kind
@pytest.mark.parametrize(
    "bad", ["../out.nii", "a/../../out.nii", "/etc/out.nii", "C:/out.nii", "a\\..\\out.nii", "a\nb"]
)
def test_names_that_lead_out_refuse_the_archive(bad: str, name: str, tmp_path: Path) -> None:
    archive = pack(tmp_path / "data", name, {"good.nii": b"x", bad: b"x"})
    before = sorted(tmp_path.rglob("*"))

    for path in (archive, archive / "none.nii"):
        assert refused(path).code == "unsafe-archive"
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written anywhere"


@every_kind
def test_a_path_may_not_leave_the_archive_or_the_root(name: str, tmp_path: Path) -> None:
    content = nifti(tmp_path / "out")
    archive = pack(tmp_path / "data", name, {"scan.nii.gz": content})
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / name).symlink_to(archive)

    assert refused(archive / "../../out/scan.nii.gz").code == "outside-root"
    linked = tmp_path / "linked" / name / "scan.nii.gz"
    assert read_volume(linked).shape == fault_files.SHAPE
    assert refused(linked, root=tmp_path / "linked").code == "outside-root"


@every_kind
def test_a_bomb_costs_no_memory(name: str, tmp_path: Path) -> None:
    archive = pack(tmp_path, name, {"scan.nii": bytes(64 << 20)})
    assert archive.stat().st_size < 1 << 20 or name == "a.tar"
    limits = {"a.tar": ArchiveLimits(max_member_bytes=1 << 20)}.get(name)
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_member(archive, "scan.nii", limits=limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "too-large"
    # A tar.gz says nothing of packed sizes; it is left when it gave 300 times its own.
    assert peak < 24 << 20, f"{peak:,} bytes"


def test_sizes_that_lie(tmp_path: Path) -> None:
    """The directory of a zip says more or less than there is."""
    archive = write_zip(tmp_path / "a.zip", {"scan.nii": os.urandom(5000)})
    content = archive.read_bytes()
    for size in (4000, 6000, 1 << 31):
        directory = content.index(b"PK\x01\x02")
        lying = bytearray(content)
        struct.pack_into("<L", lying, directory + 24, size)
        path = tmp_path / f"{size}.zip"
        path.write_bytes(lying)
        error = refused(path / "scan.nii")
        assert error.code == ("too-large" if size == 1 << 31 else "bad-archive")


def test_an_encrypted_member_and_an_unknown_packing(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"scan.nii": b"x" * 100})
    content = bytearray(archive.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for name, offset, value, code in (
        ("locked.zip", 8, 1, "encrypted-archive"),
        ("lzma.zip", 10, 14, "unsupported-archive"),
    ):
        changed = bytearray(content)
        struct.pack_into("<H", changed, directory + offset, value)
        (tmp_path / name).write_bytes(changed)
        assert members(tmp_path / name) == members(archive), "listing needs no password"
        assert refused(tmp_path / name / "scan.nii").code == code


@every_kind
@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.97])
def test_a_cut_archive_is_refused(kept: float, name: str, tmp_path: Path) -> None:
    files = {f"{number}.bin": os.urandom(4000) for number in range(10)}
    archive = pack(tmp_path, name, files)
    content = archive.read_bytes()
    length = int(kept * len(content)) if isinstance(kept, float) else kept
    if name == "a.tar" and kept == 0.97:
        length = 9 * 4608  # between two members, where a lax reader sees a sound archive
    archive.write_bytes(content[:length])

    with pytest.raises(InputError) as caught:
        members(archive)
    assert caught.value.code in {"bad-archive", "truncated-file"}


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    files = {f"{number}.bin": bytes(range(256)) * 20 for number in range(10)}
    for name in ("a.zip", "a.tar.gz"):
        archive = pack(tmp_path, name, files)
        content = archive.read_bytes()
        for position in range(60, len(content) - 60, max(1, len(content) // 40)):
            flipped = bytearray(content)
            flipped[position] ^= 4
            archive.write_bytes(flipped)
            try:
                found = {m.name: read_member(archive, m.name) for m in members(archive)}
            except InputError as error:
                assert error.code in {
                    "bad-archive",
                    "corrupt-gzip",
                    "truncated-file",
                    "too-large",
                    "unsafe-archive",
                    "unsupported-archive",
                    "encrypted-archive",
                }
            else:
                contents = set(found.values())
                assert contents == set(files.values()), "a name may change, a content may not"


@every_kind
def test_nested_archives_doubles_and_missing_files(name: str, tmp_path: Path) -> None:
    content = nifti(tmp_path / "out")
    inner = write_zip(tmp_path / "inner.zip", {"scan.nii.gz": content}).read_bytes()
    archive = pack(tmp_path, name, {"visit/inner.zip": inner, "scan.nii.gz": content})

    assert refused(archive / "visit/inner.zip/scan.nii.gz").code == "nested-archive"
    assert refused(archive / "visit/inner.zip/folder").code == "nested-archive"
    assert refused(archive / "visit/inner.zip").code == "nested-archive"
    for missing in ("none.nii", "visit/none", "scan.nii.gz/deeper", "a" * 300, "b.zip/scan.nii"):
        assert refused(archive / missing).code == "missing-file"
    empty = pack(tmp_path / "two", name, {"notes.txt": b"x", "__MACOSX/._scan.nii": b"x"})
    assert refused(empty).code == "not-a-volume"


def test_two_members_of_one_name(tmp_path: Path) -> None:
    twice = pytest.warns(UserWarning, match="Duplicate")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, twice:
        archive.writestr("scan.nii", b"one")
        archive.writestr("scan.nii", b"two")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("./scan.nii"))
    for name in ("a.zip", "a.tar"):
        with pytest.raises(InputError) as caught:
            members(tmp_path / name)
        assert caught.value.code == "duplicate-member"


def test_links_and_devices_are_no_files(tmp_path: Path) -> None:
    special = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, kind in enumerate(special):
            entry = tarfile.TarInfo(f"{number}.nii")
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    link = zipfile.ZipInfo("link.nii")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert members(tmp_path / "a.tar") == members(tmp_path / "a.zip") == []


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (tarfile.GNUTYPE_LONGNAME, 1 << 30),
        (tarfile.XHDTYPE, 1 << 30),
        (tarfile.REGTYPE, 1 << 40),
        (tarfile.REGTYPE, -512),
    ],
)
def test_headers_of_a_tar_that_lie(kind: bytes, size: int, tmp_path: Path) -> None:
    """A long name of a gigabyte, more content than the file has, and less than none."""
    entry = tarfile.TarInfo("scan.nii")
    entry.type, entry.size = kind, size
    path = tmp_path / "a.tar"
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            members(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "bad-archive"
    assert peak < 4 << 20


def test_too_many_members(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar"):
        archive = pack(tmp_path, name, {str(number): b"" for number in range(20)})
        with pytest.raises(InputError) as caught:
            members(archive, limits=ArchiveLimits(max_members=10))
        assert caught.value.code == "too-large"
