"""The tensors of a checkpoint folder in one or many safetensors files, each read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from medblip.model.weight_files import opened, safetensors_files


class FolderTensors(Mapping[str, Tensor]):
    """Name -> tensor over all weight files of a folder; a language model's are never read.

    Raises:
        InputError: there is no safetensors file, one is damaged, or the files are not those that
            the index says.
    """

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, Path] = {}
        for file in safetensors_files(folder):
            with opened(file) as weights:
                self._places |= dict.fromkeys(weights.keys(), file)

    def __getitem__(self, name: str) -> Tensor:
        with opened(self._places[name]) as weights:
            tensor: Tensor = weights.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
