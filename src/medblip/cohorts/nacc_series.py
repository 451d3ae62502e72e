"""Which series of a NACC session is a T1-weighted head, told by its sidecar, never its voxels.

The rule is that of a published NACC script: the description names an MPRAGE, SPGR or T1 sequence,
the acquisition is 3D and the slices are thinner than 2 mm. What a sidecar does not say is not held
against the series; the image step looks at the voxels themselves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medblip.errors import InputError

MAX_SLICE_MM = 2.0
EXPECTED_KEYS = ("SeriesDescription", "MRAcquisitionType", "SliceThickness")

_T1 = re.compile(r"MPRAGE|MPR|SPGR|T1")
_OTHER_CONTRAST = re.compile(r"T2|FLAIR|DTI|DWI|DIFF|SWI|ASL|PERF|LOCALI|SCOUT|SURVEY|PHASEMAP")
_HEAD = re.compile(r"BRAIN|HEAD|SKULL|NEURO")
# A double-quoted string, or a bare word that C prints for a number JSON has no name for.
_BARE_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|[+-]?\b(?:nan|inf(?:inity)?)\b', re.IGNORECASE)
# What dcm2niix adds to a file that is not the plain conversion of its series.
_VARIANT = re.compile(r"_(?:Eq_\d+|Crop_\d+|ROI\d+|Tilt_\d+)|(?<=\d)[a-z]$", re.IGNORECASE)


@dataclass(frozen=True)
class Judgement:
    """What a series is.

    Attributes:
        verdict: ``t1`` to be used, ``refused`` for a scan that must not be, ``other`` for a series
            that is no 3D T1 at all.
        code: of the finding, for ``refused``.
        reason: why, in words, unless ``t1``.
    """

    verdict: Literal["t1", "refused", "other"]
    code: str = ""
    reason: str = ""


def parse_sidecar(data: bytes, where: str) -> tuple[dict[str, Any], bool]:
    """A sidecar's facts, and whether bare ``nan`` or ``inf`` had to be read as missing.

    Raises:
        InputError: it is not JSON even so, or not an object.
    """
    try:
        text = data.decode("utf-8-sig")
        plain = _BARE_NUMBER.sub(_null_unless_string, text)
        value = json.loads(plain)
    except (ValueError, RecursionError) as error:
        problem = f"not readable as JSON: {error}"
        raise InputError(where, problem, "correct it or remove it", code="bad-json") from None
    if not isinstance(value, dict):
        problem = "expected a JSON object with names and values"
        raise InputError(where, problem, "correct it or remove it", code="bad-json")
    return {name: item for name, item in value.items() if item is not None}, plain != text


def judge(facts: Mapping[str, Any], file_stem: str) -> Judgement:
    """What a series is, by its sidecar, or by its file name where the sidecar has no description.

    Args:
        facts: the sidecar; empty if there is none.
        file_stem: name of the image without its suffix.
    """
    description = _description(facts) or file_stem
    folded = re.sub(r"[-_ ]", "", description.upper())
    if not _T1.search(folded):
        if not facts:
            reason = "no sidecar, and its name does not tell which sequence it is"
            return Judgement("refused", "series-unknown", reason)
        return Judgement("other", reason=description)
    if _OTHER_CONTRAST.search(folded):
        return Judgement("other", reason=description)
    if str(facts.get("MRAcquisitionType", "3D")).upper() != "3D":
        return Judgement("other", reason=f"{description} (2D)")
    thickness = _number(facts.get("SliceThickness"))
    if thickness is not None and thickness >= MAX_SLICE_MM:
        return Judgement("other", reason=f"{description} ({thickness:g} mm slices)")
    part = str(facts.get("BodyPartExamined", "")).upper()
    if part and not _HEAD.search(part):
        reason = f"BodyPartExamined is {part[:40]!r}, expected a head"
        return Judgement("refused", "wrong-body-part", reason)
    return Judgement("t1")


def missing_keys(facts: Mapping[str, Any]) -> list[str]:
    """The keys of the rule that a sidecar lacks."""
    return [name for name in EXPECTED_KEYS if name not in facts]


def preference(facts: Mapping[str, Any], file_stem: str, path: str) -> tuple[int, int, float, str]:
    """Sorts the primary image of a session first.

    The scanner's own image goes before a derived one (a reformat, a projection), a series' plain
    conversion before a cropped or second one, thin slices before thick ones, then the path.
    """
    derived = "DERIVED" in json.dumps(facts.get("ImageType", "")).upper()
    thickness = _number(facts.get("SliceThickness"))
    return (
        int(derived),
        int(bool(_VARIANT.search(file_stem))),
        MAX_SLICE_MM if thickness is None else thickness,
        path,
    )


def _description(facts: Mapping[str, Any]) -> str:
    for name in ("SeriesDescription", "ProtocolName"):
        if isinstance(facts.get(name), str) and facts[name].strip():
            return re.sub(r"\s+", " ", facts[name]).strip()[:80]
    return ""


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _null_unless_string(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else "null"
