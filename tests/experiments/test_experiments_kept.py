"""An experiment's folder whose files were damaged: told by name, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_experiment import make_study

from medblip.errors import InputError
from medblip.experiments.hours import HOURS_FILE, Hours
from medblip.experiments.kept import CLAIM_FILE, CONTROLS_FILE, Kept
from medblip.study.study import Study

DAMAGED = (b"", b"\x00\xff\xfe", b"{", b"[1, 2]", b"null", b'{"trials": 3}', b"[" * 100_000)


@pytest.mark.parametrize("content", DAMAGED)
def test_hours(content: bytes, tmp_path: Path) -> None:
    (tmp_path / HOURS_FILE).write_bytes(content)
    with pytest.raises(InputError, match="delete it") as caught:
        Hours.read(tmp_path)
    assert caught.value.code == "damaged-experiment"
    assert HOURS_FILE in caught.value.where


@pytest.mark.parametrize("content", [c for c in DAMAGED if c != b"null"])
def test_answers_of_simple_controls(content: bytes, tmp_path: Path) -> None:
    (tmp_path / CONTROLS_FILE).write_bytes(content)
    with pytest.raises(InputError) as caught:
        Kept(tmp_path).simple_controls()
    assert CONTROLS_FILE in str(caught.value)


def test_the_claim_of_a_folder(tmp_path: Path) -> None:
    study = Study.load(make_study(tmp_path))
    kept = Kept(tmp_path / "out")
    kept.claim(study)
    kept.claim(study)
    (kept.folder / CLAIM_FILE).write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="another --out"):
        kept.claim(study)
