"""``medblip ask``: files in, one answer and a picture out."""

from __future__ import annotations

from pathlib import Path

from medblip.errors import InputError, UsageError
from medblip.evaluation.answering import Answer, ask, refuse_diagnosis_of_two
from medblip.evaluation.calibration import Temperature
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.pretrained import embedded_files
from medblip.storage import replacing
from medblip.study.labels import QUESTION
from medblip.study.record import RecordForm, parse_fields
from medblip.training.card_facts import CARD_FACTS_FILE, CardFacts, TrainingFacts
from medblip.volumes import Preprocessing, Volume, preprocess, read_volume
from medblip.volumes.gate import Reference
from medblip.volumes.slices import three_planes_png


def ask_files(
    scan: Path,
    model: Path,
    *,
    record: str = "",
    fields: str = "",
    question: str = "",
    picture: Path | None = None,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    series: str = "",
    previous: Path | None = None,
) -> Answer:
    """Answer about a scan with the checkpoint in ``model``, and draw the scan.

    Args:
        scan, volume_index, assume_orientation, series: see :func:`medblip.volumes.read_volume`;
            the last three hold of both scans.
        fields: ``age=74,sex=F,...``, said as in training; ``record`` is free text.
        picture: where the PNG goes; by default beside the caller, named after the scan.
        previous: an earlier scan of the same subject, for a ``question`` that compares the two.

    Raises:
        InputError: a scan, the record or the checkpoint cannot be used.
        UsageError: two scans for a checkpoint that was trained on one, or with the diagnosis.
    """
    if previous is not None:
        refuse_diagnosis_of_two(question or QUESTION)
        require_two_scans(model)
    text = _form(model).text(parse_fields(fields, "--fields")) if fields else record
    volume = read_volume(
        scan, volume_index=volume_index, assume_orientation=assume_orientation, series=series
    )
    loaded = MedBlipForConditionalGeneration.from_pretrained(checkpoint_folder(model))
    answer = ask(
        loaded,
        MedBlipProcessor.from_pretrained(model),
        scan,
        text,
        question or QUESTION,
        temperature=Temperature.load(model),
        reference=embedded_reference(),
        volume_index=volume_index,
        assume_orientation=assume_orientation,
        series=series,
        learned_questions=learned_questions(model),
        previous=previous,
    )
    name = scan.name.split(".")[0].strip("*?_") or "scan"  # it may be a pattern of slices
    drawn = picture or Path(f"{name}_medblip.png")
    return answer.model_copy(update={"picture": _draw(volume, drawn)})


def _form(model: Path) -> RecordForm:
    """How the records were said that the model was trained on, where its folder tells."""
    training = _training(model)
    return RecordForm() if training is None else training.record_form


def learned_questions(model: Path) -> bool:
    """Whether a checkpoint was trained on questions about scans, as far as its folder tells."""
    training = _training(model)
    return training is not None and training.asked_questions


def require_two_scans(model: Path) -> None:
    """Raise UsageError where a checkpoint's folder tells that it was trained on one scan a prompt.

    A folder that does not tell is not refused.
    """
    training = _training(model)
    if training is not None and training.compared_scans is False:
        raise UsageError(
            "--previous",
            f"{model} was not trained on two scans of a subject",
            "leave the earlier scan out, or train on questions that compare (docs/vqa.md)",
            code="trained-on-one-scan",
        )


def _training(model: Path) -> TrainingFacts | None:
    """How a checkpoint was trained; None where its folder does not tell."""
    if not (model / CARD_FACTS_FILE).is_file():
        return None
    return CardFacts.of_checkpoint(model).training


def checkpoint_folder(model: Path) -> Path:
    if not model.is_dir():
        raise InputError(
            str(model),
            "there is no checkpoint here",
            "run `medblip demo` first, or name one with --model",
            code="no-checkpoint",
        )
    return model


def embedded_reference() -> Reference | None:
    """The template that the gate compares with, where the embedded weights are at hand."""
    try:
        return Reference.from_folder(embedded_files(verify=False).anatomy)
    except InputError:
        return None


def _draw(volume: Volume, path: Path) -> str | None:
    """Draw even what was refused, so that the user sees why; a volume without a head has none."""
    try:
        cube = preprocess(volume, Preprocessing())
    except InputError:
        return None
    with replacing(path) as temporary:
        temporary.write_bytes(three_planes_png(cube))
    return str(path)


__all__ = ["ask_files"]
