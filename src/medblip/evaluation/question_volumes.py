"""The volumes of a public set of questions: made into cubes, or listed with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tqdm import tqdm

from medblip.errors import InputError
from medblip.evaluation.asking import embedded_reference
from medblip.findings import Finding
from medblip.volumes.gate import GATE_VERSION, check_plausibility
from medblip.vqa.questions import Question, VolumeFile
from medblip.vqa.volume_cubes import VolumeCubes

QUESTIONS_TOLD = 3  # of a volume that was left out, in a line; the results name them all


@dataclass(frozen=True)
class SkippedVolume:
    """A volume that could not be used, and the questions that were not asked for it."""

    path: str
    error: Finding
    questions: tuple[str, ...]

    @property
    def told(self) -> Finding:
        """The error with the first of the questions."""
        first, rest = self.questions[:QUESTIONS_TOLD], self.questions[QUESTIONS_TOLD:]
        listed = f"{', '.join(first)}{f' and {len(rest)} more' if rest else ''}"
        return replace(self.error, problem=f"{self.error.problem} (asked by {listed})")

    def as_dict(self) -> dict[str, Any]:
        error = self.error
        return {
            "volume": self.path,
            "code": error.code,
            "problem": error.problem,
            "fix": error.fix,
            "questions": list(self.questions),
        }


@dataclass(frozen=True)
class QuestionVolumes:
    """What became of the volumes of a set.

    Attributes:
        cubes: name in the volume cache by path; equal contents have one name.
        findings: about volumes that are used.
        skipped: in the order of the questions.
    """

    cubes: Mapping[str, str]
    findings: Sequence[Finding] = ()
    skipped: Sequence[SkippedVolume] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "used": len(self.cubes),
            "different": len(set(self.cubes.values())),
            "skipped": [volume.as_dict() for volume in self.skipped],
            "findings": _by_code(self.findings),
        }


def gated(maker: VolumeCubes) -> VolumeCubes:
    """The maker with the gate of ``medblip ask``."""
    reference = embedded_reference()
    version = f"{GATE_VERSION}{'' if reference is None else ' with template'}"
    gate = partial(check_plausibility, reference=reference)
    return VolumeCubes(maker.root, maker.cubes, maker.settings, gate, version)


def make_cubes(
    questions: Sequence[Question], maker: VolumeCubes, *, progress: bool
) -> QuestionVolumes:
    """A cube of each volume that a question is about, one after the other.

    Raises:
        UsageError: cubes cannot be stored.
    """
    about: dict[str, list[str]] = {}
    for question in questions:
        about.setdefault(volume_of(question), []).append(question.id)
    cubes: dict[str, str] = {}
    findings: list[Finding] = []
    skipped: list[SkippedVolume] = []
    for path in tqdm(about, desc="Reading volumes", unit="volume", disable=not progress):
        try:
            cube = maker.cube(path)
        except InputError as error:
            found = Finding.from_error(error, path)
            skipped.append(SkippedVolume(path, found, tuple(about[path])))
            continue
        cubes[path] = cube.cache_file
        findings += cube.findings
    return QuestionVolumes(cubes, findings, skipped)


def volume_of(question: Question) -> str:
    """The path of a question about a volume; TypeError for one about a session of a study."""
    if not isinstance(question.image, VolumeFile):
        raise TypeError(f"question {question.id} is about a session of a study")
    return question.image.path


def _by_code(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Each code once: how many times, and the first one."""
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.code, finding)
    times = {code: sum(f.code == code for f in findings) for code in first}
    return [{"times": times[code], "first": first[code].as_dict()} for code in first]
