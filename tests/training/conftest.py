"""Fixtures that several test files of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from medblip.training import claim


@pytest.fixture
def code_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the package's code as unchanged, even where it is worked on while tests run."""
    monkeypatch.setattr(claim, "PACKAGE", tmp_path / "no-code")
