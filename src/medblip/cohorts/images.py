"""One scan of a data set: read, judged and cached as a cube, or a finding that says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from medblip.cohorts.dataset import Scan
from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.study.thumbnails import Thumbnail, thumbnail
from medblip.volumes.cache import load_cube
from medblip.volumes.cube import Cube
from medblip.volumes.preprocessing import Preprocessing
from medblip.volumes.volume import Volume

Check = Callable[[Volume], tuple[Finding, ...]]


@dataclass(frozen=True)
class ImageSettings:
    """What all scans of a run share.

    Attributes:
        preprocessing: how cubes are made.
        cache: folder they are kept in.
        check: plausibility gate on the volume in RAS order; an error finding refuses the scan.
        check_version: changes when the gate would judge differently.
    """

    preprocessing: Preprocessing
    cache: Path
    check: Check | None = None
    check_version: str = ""


@dataclass(frozen=True)
class ImageTask:
    """One scan, where it lies, and how findings call it."""

    scan: Scan
    root: Path
    cohort: str

    @property
    def where(self) -> str:
        # Series that share a folder differ in their files only.
        parts = (self.cohort, self.scan.path, self.scan.files)
        return "/".join(part for part in parts if part)


@dataclass(frozen=True)
class ImageResult:
    """A scan that can be used.

    Attributes:
        row: its row of ``images.tsv``, without ``primary``.
        findings: warnings and notes.
        thumbnail: for the audit.
    """

    row: dict[str, str]
    findings: tuple[Finding, ...]
    thumbnail: Thumbnail


def read_image(settings: ImageSettings, task: ImageTask) -> ImageResult | Finding:
    """Make or find the cube of one scan.

    Returns:
        The result, or the error finding of a scan that cannot be used.

    Raises:
        UsageError: the cache cannot be written, which no other scan would survive either.
    """
    try:
        cube = load_cube(
            task.root / task.scan.path,
            settings.preprocessing,
            settings.cache,
            root=task.root,
            files=task.scan.files,
            assume_orientation=task.scan.assume_orientation or None,
            gate=settings.check,
            gate_version=settings.check_version,
        )
    except InputError as error:
        return Finding.from_error(error, task.where)
    except UsageError:
        raise
    except Exception as error:  # one odd scan must not stop thirty thousand others
        problem = f"unexpected {type(error).__name__}: {error}"
        fix = "please report this with the file's header"
        return Finding("unexpected-error", "error", task.where, problem, fix)
    findings = tuple(_of_scan(finding, task) for finding in cube.findings)
    return ImageResult(_row(task.scan, cube), findings, thumbnail(cube.array, cube.voxel_mm))


def _of_scan(finding: Finding, task: ImageTask) -> Finding:
    """A finding about a scan by the name it has in its data set.

    An orientation that the reader gave, as the cohort documents it, is not a guess to warn of.
    """
    if finding.code != "orientation-assumed":
        return replace(finding, where=task.where)
    letters = task.scan.assume_orientation.rstrip("!")
    problem = f"the axes are {letters}, as documented for its data set; the file holds none or a"
    return Finding(finding.code, "note", task.where, f"{problem} wrong orientation")


def _row(scan: Scan, cube: Cube) -> dict[str, str]:
    facts = cube.facts
    return {
        "participant_id": scan.participant_id,
        "session_id": scan.session_id,
        "run": str(scan.run),
        "kind": scan.kind,
        "format": scan.format,
        "path": "/".join(part for part in (scan.path, scan.files) if part),
        "shape": "x".join(str(n) for n in facts.shape),
        "voxel_mm": "x".join(f"{size:.4f}".rstrip("0").rstrip(".") for size in facts.voxel_sizes),
        "axcodes": facts.axcodes,
        "sha256": cube.source_sha256,
        "cube": cube.cache_file,
    }
