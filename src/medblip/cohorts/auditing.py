"""``medblip audit``: a study folder looked at again, with the cubes its scans became."""

from __future__ import annotations

from pathlib import Path

from medblip.errors import InputError
from medblip.parallel import run_all
from medblip.study.audit import Audit, audit, write_audit_json
from medblip.study.audit_page import write_audit
from medblip.study.study import AUDIT_FILE, AUDIT_JSON_FILE, Study
from medblip.study.thumbnails import Thumbnail, thumbnail
from medblip.volumes.cache import read_cube


def audit_folder(
    folder: Path,
    *,
    cache: Path | None = None,
    workers: int | None = 1,
    progress: bool = True,
) -> tuple[Study, Audit]:
    """Audit a study folder and write ``audit.html`` and ``audit.json`` into it.

    Args:
        folder: what `prepare` wrote, perhaps edited.
        cache: folder of the cubes; by default where `prepare` put them. Cubes that are not there
            are not compared, which the audit says.
        workers: processes that read cubes; None chooses.
        progress: whether to show a bar.

    Raises:
        InputError: the folder is no complete study, or a table breaks its schema.
    """
    study = Study.load(folder)
    thumbnails = read_thumbnails(
        study, cache or Path(study.info.cache), workers=workers, progress=progress
    )
    result = audit(study, thumbnails)
    write_audit(study, result, study.folder / AUDIT_FILE, thumbnails)
    write_audit_json(study, result, study.folder / AUDIT_JSON_FILE)
    return study, result


def read_thumbnails(
    study: Study, cache: Path, *, workers: int | None = 1, progress: bool = True
) -> dict[str, Thumbnail]:
    """Thumbnails of a study's cubes by file name, of those that can be read."""
    names = study.images["cube"].unique().tolist()
    there = [name for name in names if (cache / name).is_file()]
    results = run_all(
        _read_one,
        cache,
        there,
        title="Looking at cubes",
        unit="cube",
        workers=workers,
        progress=progress and bool(there),
    )
    return {name: one for name, one in zip(there, results, strict=True) if one is not None}


def _read_one(cache: Path, name: str) -> Thumbnail | None:
    try:
        cube = read_cube(cache / name)
    except InputError:
        return None  # damaged: `prepare` makes it again
    return thumbnail(cube.array, cube.voxel_mm)
