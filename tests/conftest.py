"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

# Two pytest workers share two cores; more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

import tiny_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``vision``, ``language`` (tiny towers on disk) and ``template``."""
    root = tmp_path_factory.mktemp("world")
    tiny_world.write_vision(root / "vision")
    tiny_world.write_language(root / "language")
    tiny_world.write_template(root / "template")
    return root
