"""``ask``: one scan, one record, one question, one answer that says what it is worth.

With an earlier scan of the same subject the question may compare the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from transformers.feature_extraction_utils import BatchFeature

from medblip.errors import UsageError
from medblip.evaluation.asked_scans import Scan, read_scans
from medblip.evaluation.calibration import Temperature
from medblip.findings import Finding
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.likelihood import score_answers
from medblip.notice import RESEARCH_USE
from medblip.study.labels import ANSWERS, LABELS, QUESTION
from medblip.study.record import clean_question, clean_text
from medblip.volumes import Cube
from medblip.volumes.gate import Reference

SCHEMA = "medblip-answer/1"
MAX_RECORD_CHARACTERS = 20_000
MAX_NEW_TOKENS = 40


class Answer(BaseModel):
    """What ``ask`` returns, and the JSON that ``medblip ask --json`` prints.

    Attributes:
        answer: the sentence; None where the model abstained.
        label: NC, MCI or AD; ``unparsed`` for free questions; None where abstained.
        probabilities: of each label, summing to one; empty for free questions and abstention.
        calibrated: whether a temperature was fitted on validation subjects.
        scoring: ``summed log-probability`` (not length-normalised) or ``generated text``.
        abstained, reason: no answer, and why.
        findings: what was noticed about scan, record and question.
        picture: path of the scan in three planes, where one was drawn.
        evidence_map: path of an evidence map, once there is one.
        model_sha256, input_sha256: of the learned weights and of the scan's file or files.
        previous_sha256: of the earlier scan's; empty where none was shown.
        notice: the research-use sentence.
    """

    model_config = ConfigDict(frozen=True)

    schema_: str = Field(default=SCHEMA, serialization_alias="schema")
    question: str
    answer: str | None = None
    label: str | None = None
    probabilities: dict[str, float] = {}
    calibrated: bool = False
    temperature: float = 1.0
    scoring: str = "summed log-probability"
    abstained: bool = False
    reason: str | None = None
    findings: list[dict[str, str]] = []
    picture: str | None = None
    evidence_map: str | None = None
    model_sha256: str = ""
    input_sha256: str = ""
    previous_sha256: str = ""
    notice: str = RESEARCH_USE

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=2)


def ask(
    model: MedBlipForConditionalGeneration,
    processor: MedBlipProcessor,
    scan: Scan,
    record: str = "",
    question: str = QUESTION,
    *,
    temperature: Temperature | None = None,
    reference: Reference | None = None,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    series: str = "",
    learned_questions: bool = False,
    previous: Scan | None = None,
) -> Answer:
    """Answer a question about one scan and its record.

    Each scan passes the plausibility gate first; where one does not, the answer abstains and says
    why. The paper's question is answered by the likelihood of each diagnosis, any other one by
    generated text.

    Args:
        scan: path (see :func:`medblip.volumes.read_volume`), or a volume already read.
        record: free text; cleaned and capped, and never read as an instruction.
        temperature: calibration fitted on validation subjects; none means uncalibrated.
        reference: template for the gate's anatomy check.
        volume_index, assume_orientation, series: see :func:`medblip.volumes.read_volume`; they hold
            of both scans.
        learned_questions: the checkpoint was trained on questions about scans; else any but the
            paper's gets a warning.
        previous: an earlier scan of the same subject, which the prompt shows before ``scan``; the
            model must have been trained on questions that compare.

    Raises:
        InputError: a scan cannot be read, or the question is empty.
        UsageError: the paper's question with a previous scan.
    """
    question, notes = clean_question(question)
    if previous is not None:
        refuse_diagnosis_of_two(question)
    record, more = _clean_record(record)
    scans = read_scans(
        scan,
        previous,
        reference,
        volume_index=volume_index,
        assume_orientation=assume_orientation,
        series=series,
    )
    *earlier, current = scans.sha256
    facts: dict[str, Any] = {
        "question": question,
        "model_sha256": model_sha256(model),
        "input_sha256": current,
        "previous_sha256": "".join(earlier),
    }
    if scans.reason:
        found = [f.as_dict() for f in (*scans.findings, *notes, *more)]
        return Answer(**facts, abstained=True, reason=scans.reason, findings=found)
    (*before, cube), findings = scans.cubes(processor)
    findings += [*notes, *more, *_doubts(processor, record, question, learned_questions, before)]
    inputs = processor(
        volumes=[cube], records=[record], questions=[question], previous=before or None
    ).to(model.query_tokens.device)
    if question == QUESTION:
        given = _diagnose(model, processor, inputs, temperature or Temperature())
    else:
        given = _generate(model, processor, inputs)
    return Answer(**facts, **given, findings=[f.as_dict() for f in findings])


def refuse_diagnosis_of_two(question: str) -> None:
    """Raise UsageError where two scans are shown with the paper's question, which knows one."""
    if question == QUESTION:
        raise UsageError(
            "previous scan",
            "the diagnosis is asked of one scan; no training shows two with it",
            "ask something that compares them (--question), or leave the earlier scan out",
            code="diagnosis-of-two",
        )


def _clean_record(record: str) -> tuple[str, Sequence[Finding]]:
    if record.strip():
        return clean_text(record, max_chars=MAX_RECORD_CHARACTERS)
    nothing = "no record was given; the answer comes from the scan alone"
    return "", [Finding("no-record", "note", "record", nothing)]


def _doubts(
    processor: MedBlipProcessor,
    record: str,
    question: str,
    learned_questions: bool,
    before: Sequence[Cube],
) -> list[Finding]:
    """What the prompt itself takes away from the answer."""
    doubts = []
    if question != QUESTION and not learned_questions:
        doubts.append(
            Finding(
                "free-question",
                "warning",
                "question",
                "this checkpoint was trained on the diagnosis question alone",
                "take the text as a continuation by the language model, not as a reading of the "
                "scan",
            )
        )
    prompt = processor.prompts.prompt(record, question, previous=bool(before))
    cut = prompt.record_tokens_cut
    if cut:
        doubts.append(
            Finding(
                "record-cut",
                "warning",
                "record",
                f"{cut} tokens were cut from its middle; prefix and question are whole",
                "shorten the record",
            )
        )
    return doubts


def _diagnose(
    model: MedBlipForConditionalGeneration,
    processor: MedBlipProcessor,
    inputs: BatchFeature,
    temperature: Temperature,
) -> dict[str, Any]:
    candidates = [processor.prompts.answer(ANSWERS[label]) for label in LABELS]
    scores = score_answers(model, candidates, **inputs).float().cpu().numpy()
    probabilities = temperature.probabilities(scores)[0]
    label = LABELS[int(probabilities.argmax())]
    return {
        "answer": ANSWERS[label],
        "label": label,
        "probabilities": {n: float(p) for n, p in zip(LABELS, probabilities, strict=True)},
        "calibrated": temperature.calibrated,
        "temperature": temperature.value,
    }


def _generate(
    model: MedBlipForConditionalGeneration, processor: MedBlipProcessor, inputs: BatchFeature
) -> dict[str, Any]:
    generated = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    text = processor.batch_decode(generated)[0]
    return {"answer": text, "label": label_of_text(text), "scoring": "generated text"}


def label_of_text(text: str) -> str:
    """The label whose answer ``text`` is, letter for letter, or ``unparsed``; never a guess."""
    plain = text.strip().rstrip(".").casefold()
    return next((label for label in LABELS if ANSWERS[label] == plain), "unparsed")


def model_sha256(model: MedBlipForConditionalGeneration) -> str:
    """Hash of what was learned: the weights outside the frozen bases, and the adapter."""
    digest = hashlib.sha256()
    learned = {n: p for n, p in model.state_dict().items() if "lora_" in n}
    for name, tensor in sorted((model.learned_state() | learned).items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()
