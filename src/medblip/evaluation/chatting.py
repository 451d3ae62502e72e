"""``medblip chat``: files in, a conversation about the scan out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from medblip.evaluation.asked_scans import read_scans
from medblip.evaluation.asking import (
    checkpoint_folder,
    embedded_reference,
    learned_questions,
    require_two_scans,
)
from medblip.evaluation.conversation import Conversation
from medblip.findings import Finding
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.training.precision import pick_device
from medblip.training.run_folder import MODEL_FOLDER


@dataclass(frozen=True)
class Opening:
    """What is known before the first question.

    Attributes:
        conversation: None where the plausibility gate refuses the scan.
        findings: about scan and checkpoint.
        reason: why the scan was refused; empty if it was not.
    """

    conversation: Conversation | None
    findings: Sequence[Finding]
    reason: str = ""


def open_conversation(
    run: Path,
    scan: Path,
    *,
    record: str = "",
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    series: str = "",
    previous: Path | None = None,
) -> Opening:
    """Begin a conversation about a scan, which passes the same gate as for ``ask``.

    Args:
        run: a run folder, or a checkpoint folder.
        record: free text that stands before the dialogue.
        scan, volume_index, assume_orientation, series: see :func:`medblip.volumes.read_volume`;
            the last three hold of both scans.
        previous: an earlier scan of the same subject, which passes the gate too.

    Raises:
        InputError: a scan or the checkpoint cannot be used.
        UsageError: two scans for a checkpoint that was trained on one.
    """
    folder = run / MODEL_FOLDER if (run / MODEL_FOLDER).is_dir() else checkpoint_folder(run)
    if previous is not None:
        require_two_scans(folder)
    scans = read_scans(
        scan,
        previous,
        embedded_reference(),
        volume_index=volume_index,
        assume_orientation=assume_orientation,
        series=series,
    )
    if scans.reason:
        return Opening(None, scans.findings, scans.reason)
    model = MedBlipForConditionalGeneration.from_pretrained(folder)
    model.to(pick_device()).eval()  # type: ignore[arg-type]
    processor = MedBlipProcessor.from_pretrained(folder)
    cubes, findings = scans.cubes(processor)
    if not learned_questions(folder):
        findings.append(_NOT_LEARNED)
    pixels = processor.image_processor(cubes).pixel_values.to(model.query_tokens.device)
    with torch.no_grad():
        tokens, mask = model.encode_image(pixels)
    talk = Conversation(model, processor, tokens, record, image_mask=mask)
    return Opening(talk, findings)


_NOT_LEARNED = Finding(
    "free-question",
    "warning",
    "checkpoint",
    "it was not trained on questions about scans",
    "take what it says as a continuation by the language model, not as a reading of the scan",
)
