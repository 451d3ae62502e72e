"""Cached image tokens that are cut, missing or of another encoder are made anew."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from stage_inputs import token_cache, write_cubes

from medblip.training.token_cache import TokenCache


@pytest.fixture
def cache(tmp_path: Path) -> TokenCache:
    write_cubes(tmp_path / "cubes", 3)
    made = token_cache(tmp_path)
    assert made.fill(names(), progress=False) == 3
    return made


def names() -> list[str]:
    return [f"{index}.safetensors" for index in range(3)]


@pytest.mark.parametrize("left", [0, 4, 60, -1], ids=["empty", "no length", "header", "last byte"])
def test_a_cut_file_is_encoded_again_by_filling_and_by_reading(
    cache: TokenCache, left: int
) -> None:
    file = cache.folder / names()[1]
    whole, tokens = file.read_bytes(), cache.tokens(names()[1])
    for mend in (lambda: cache.fill(names(), progress=False), lambda: cache.tokens(names()[1])):
        os.truncate(file, left if left >= 0 else len(whole) + left)
        mend()
        assert file.read_bytes() == whole
        assert np.array_equal(cache.tokens(names()[1]), tokens)
    assert cache.fill(names(), progress=False) == 0
    assert sorted(path.name for path in cache.folder.iterdir()) == names()


def test_an_absent_file_is_encoded_when_it_is_read(cache: TokenCache) -> None:
    tokens = cache.tokens(names()[0])
    (cache.folder / names()[0]).unlink()
    assert np.array_equal(cache.tokens(names()[0]), tokens)


def test_a_changed_encoder_never_meets_old_tokens(cache: TokenCache, tmp_path: Path) -> None:
    with torch.no_grad():
        for parameter in cache.model.vision_model.parameters():
            parameter.mul_(1.1)
    changed = TokenCache(cache.model, tmp_path / "cubes", tmp_path / "tokens")
    assert changed.folder != cache.folder
    assert changed.fill(names(), progress=False) == 3
    assert not np.array_equal(changed.tokens(names()[0]), cache.tokens(names()[0]))
