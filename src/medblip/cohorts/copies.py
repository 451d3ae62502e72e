"""The same image delivered more than once: loose and in an archive, or in two folders."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from medblip.cohorts.collecting import Collector
from medblip.cohorts.download_files import same_content
from medblip.errors import InputError


class ImageFile(NamedTuple):
    """How findings call an image, and the file whose bytes are compared."""

    path: str
    voxels: str


@dataclass
class Copies:
    """Images by what they are; a second one is a copy to be noted, or a contradiction."""

    collector: Collector
    first: dict[Hashable, ImageFile] = field(default_factory=dict)

    def is_first(self, key: Hashable, image: ImageFile) -> bool:
        """Whether no image of that key was met before.

        A later one with the same bytes is noted, since nothing is lost; one with other bytes is
        refused, since no rule says which is right and the first is used already.
        """
        known = self.first.setdefault(key, image)
        if known is image:
            return True
        if not self.is_copy(image, known):
            problem = f"{known.path} goes by the same name but has other content"
            error = InputError(image.path, problem, "keep the right one", code="two-versions")
            self.collector.refuse([image.path], error)
        return False

    def is_copy(self, image: ImageFile, known: ImageFile) -> bool:
        """Whether the bytes are equal, which is then noted; unreadable files are not equal."""
        if not same_content(self.collector.root, image.voxels, known.voxels):
            return False
        problem = f"the same bytes as {known.path}, which is read"
        self.collector.note("same-file-twice", "note", image.path, problem)
        return True

    def are_unpacked(self, archive: str, keys: Sequence[Hashable]) -> bool:
        """Whether all scans of an archive also lie beside it; noted if at least some do.

        Their bytes are not compared: an archive and what was unpacked from it are usual.
        """
        known = sum(key in self.first for key in keys)
        if known:
            problem = f"{known} of its {len(keys)} scan(s) also lie unpacked; those are read"
            self.collector.note("unpacked-archive", "note", archive, problem)
        return known > 0 and known == len(keys)
