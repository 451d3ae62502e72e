"""One slice of the scans into the cache, so that several machines share the reading."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medblip.cohorts.images import Check, ImageResult, ImageSettings, read_image
from medblip.cohorts.inputs import check_places
from medblip.cohorts.prepare import image_tasks, read_sources
from medblip.cohorts.readers import Download
from medblip.errors import UsageError
from medblip.parallel import Engine, as_engine, run_all
from medblip.volumes.preprocessing import Preprocessing

_SHARD = re.compile(r"([0-9]+)/([0-9]+)")


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th scan, from ``number`` (1 to ``count``) on."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            problem = f"there is no slice {self.number} of {self.count}"
            raise UsageError("shard", problem, "count from 1, e.g. 1/8 to 8/8", code="bad-shard")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``3/8`` as the third of eight.

        Raises:
            UsageError: ``bad-shard``.
        """
        found = _SHARD.fullmatch(text.strip())
        if found is None:
            problem = f"{text!r} is no slice"
            raise UsageError("shard", problem, "write e.g. 3/8", code="bad-shard")
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class Filled:
    """How many scans the slice has, and how many of them have a cube now."""

    scans: int
    cubes: int


def fill_cache(
    sources: Sequence[Path | Download],
    *,
    cache: Path,
    shard: Shard,
    preprocessing: Preprocessing,
    workers: int | None = None,
    progress: bool = True,
    check: Check | None = None,
    check_version: str = "",
    encoding: str = "utf-8-sig",
    engine: Engine = "processes",
) -> Filled:
    """Make the cubes of one slice of the scans, and nothing else.

    `medblip.cohorts.prepare.prepare` with the same arguments then finds them, makes those that are
    missing, and says of each scan without one why. Slices may run at the same time, or again.

    Args:
        sources, cache, preprocessing, check, check_version, encoding, workers, progress, engine:
            as for ``prepare``.
        shard: which slice.

    Raises:
        UsageError, InputError, PartlyDoneError: as ``prepare`` does for sources and cache.
    """
    downloads = [s if isinstance(s, Download) else Download(s) for s in sources]
    check_places([d.root for d in downloads], cache, cache)
    as_engine(engine)  # before any table is read
    tasks = image_tasks(read_sources(downloads, encoding))[shard.number - 1 :: shard.count]
    results = run_all(
        read_image,
        ImageSettings(preprocessing, cache.resolve(), check, check_version),
        tasks,
        title=f"Reading scans, slice {shard.number} of {shard.count}",
        unit="scan",
        workers=workers,
        progress=progress,
        engine=engine,
    )
    return Filled(len(tasks), sum(isinstance(result, ImageResult) for result in results))
