"""The scans that ``ask`` and ``chat`` are about: read, past the plausibility gate, made cubes.

An earlier scan of the same subject, where there is one, stands before the current one, as in the
prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medblip.findings import Finding
from medblip.model import MedBlipProcessor
from medblip.volumes import Cube, Volume, read_volume, scan_sha256, to_ras
from medblip.volumes.gate import Reference, check_plausibility

Scan = str | Path | Volume


@dataclass(frozen=True)
class AskedScans:
    """One scan, or an earlier one and the current one.

    Attributes:
        volumes: in RAS+.
        sha256: of the file or files of each; of the voxels of a volume that was read already.
        findings: what reading and the plausibility gate say; an error refuses them all.
    """

    volumes: Sequence[Volume]
    sha256: Sequence[str]
    findings: Sequence[Finding]

    @property
    def reason(self) -> str:
        """Why they are refused; empty if they are not."""
        return next((f.problem for f in self.findings if f.level == "error"), "")

    def cubes(self, processor: MedBlipProcessor) -> tuple[list[Cube], list[Finding]]:
        """What the model sees of each, and all findings, with those of making the cubes."""
        cubes, findings = [], list(self.findings)
        for number, volume in enumerate(self.volumes):
            cube = processor.image_processor.cube(volume)
            found = _told(cube.findings, earlier=number + 1 < len(self.volumes))
            findings += [finding for finding in found if finding not in findings]
            cubes.append(cube)
        return cubes, findings


def read_scans(
    scan: Scan,
    previous: Scan | None,
    reference: Reference | None,
    *,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    series: str = "",
) -> AskedScans:
    """Read the scans and put each before the plausibility gate.

    Args:
        previous: an earlier scan of the same subject; None where there is none.
        reference: template for the gate's anatomy check.
        volume_index, assume_orientation, series: see :func:`medblip.volumes.read_volume`; they hold
            of both scans.

    Raises:
        InputError: a scan cannot be read.
    """
    volumes: list[Volume] = []
    digests: list[str] = []
    findings: list[Finding] = []
    for one in (scan,) if previous is None else (previous, scan):
        if isinstance(one, Volume):
            read, digest = one, hashlib.sha256(one.array.tobytes()).hexdigest()
        else:
            read = read_volume(
                one, volume_index=volume_index, assume_orientation=assume_orientation, series=series
            )
            digest = scan_sha256(one, series=series)
        volume = to_ras(read)
        found = [*volume.findings, *check_plausibility(volume, reference)]
        findings += _told(found, earlier=previous is not None and not volumes)
        volumes.append(volume)
        digests.append(digest)
    return AskedScans(volumes, digests, findings)


def _told(findings: Sequence[Finding], *, earlier: bool) -> list[Finding]:
    """As they are; of an earlier scan they say so, since the file's name is not always shown."""
    if not earlier:
        return list(findings)
    return [replace(f, problem=f"the earlier scan: {f.problem}") for f in findings]
