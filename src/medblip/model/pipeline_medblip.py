"""``pipeline("medblip-visual-question-answering", model=folder)``: scans in, sentences out.

This is transformers' way to the model: it passes no plausibility gate and no calibration, and every
answer says so. :func:`medblip.ask` gives an answer that says what it is worth.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForImageTextToText, GenerationConfig, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils.generic import ModelOutput

from medblip.errors import UsageError
from medblip.findings import Finding
from medblip.model.asked import Asked, line_up
from medblip.model.image_processing_medblip import VolumeInput, is_pair
from medblip.model.processing_medblip import MedBlipProcessor
from medblip.notice import RESEARCH_USE
from medblip.study.text import clean_question, clean_text

TASK = "medblip-visual-question-answering"
# What `generate` takes beside the fields of its configuration.
_BESIDE_CONFIG = {
    "generation_config",
    "streamer",
    "stopping_criteria",
    "logits_processor",
    "tokenizer",
}
_GENERATE = _BESIDE_CONFIG | {n for n in vars(GenerationConfig()) if not n.startswith("_")}
NO_GATE = Finding(
    "no-gate",
    "note",
    "pipeline",
    "the scan passed no plausibility gate and the answer is not calibrated",
    "ask with `medblip.ask` for an answer that says what it is worth",
)


class PipelineAnswer(TypedDict):
    """What the pipeline gives for one prompt.

    ``findings`` holds what was noticed about scan, record and question, as dictionaries with a
    code, a level, a place, a problem and a way out.
    """

    answer: str
    question: str
    findings: list[dict[str, str]]
    notice: str


class MedBlipPipeline(Pipeline):
    """Generated answers about scans and their records, as a pipeline of transformers.

    Args:
        model: :class:`MedBlipForConditionalGeneration`, also inside a PEFT model.
        processor: :class:`MedBlipProcessor` of the same checkpoint.
        kwargs: as for every pipeline: ``device``, ``batch_size``, options of ``generate``.

    Raises:
        UsageError: another kind of model, or no processor.
    """

    model: Any
    processor: Any
    _load_processor: Any = True
    _load_image_processor: Any = False
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = False
    _pipeline_calls_generate = True
    _default_generation_config = GenerationConfig(max_new_tokens=40)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kind = self.model.config.model_type
        if kind != "medblip" or not isinstance(self.processor, MedBlipProcessor):
            found = f"{kind!r} with {type(self.processor).__name__}"
            raise UsageError(TASK, f"model and processor are {found}; expected MedBLIP's")
        self._generation_defaults.setdefault("pad_token_id", self.processor.tokenizer.pad_token_id)

    def __call__(  # type: ignore[override]
        self,
        inputs: VolumeInput | Iterable[Any] | None = None,
        record: str | list[str] | None = None,
        question: str | list[str] | None = None,
        previous: VolumeInput | list[VolumeInput | None] | None = None,
        **kwargs: Any,
    ) -> PipelineAnswer | list[Any] | Iterator[Any]:
        """Answer a question about a scan and its record, or many.

        Args:
            inputs: a scan: path, nibabel image, ``Volume``, ``Cube``, or a pair of array and
                affine. Or a list of scans, or a generator or ``Dataset``, which are answered
                lazily. In place of a scan, a dictionary of ``volume``, ``record``, ``question``
                and ``previous`` may be given. None asks about the record alone.
            record: what is known besides; one for all, or a list with one each.
            question: the paper's if None; one for all, or a list with one each.
            previous: an earlier scan of the same subject, to compare with; for a list of scans a
                list with one each, None where there is none. For a generator or ``Dataset``, give
                dictionaries.
            kwargs: ``batch_size``, ``num_workers``, and every option of ``generate``, by name or
                in a dictionary ``generate_kwargs``.

        Returns:
            :class:`PipelineAnswer`; a list of them where a list was given, and an iterator for a
            generator or ``Dataset``. With ``num_return_sequences`` above one, a list of answers in
            place of each.

        Raises:
            InputError: a scan cannot be used, or a question is empty.
            UsageError: lists of different lengths, or nothing was asked.
            TypeError: an option that is not known.
        """
        if isinstance(inputs, Iterator | Dataset):
            items: Any = inputs
            return super().__call__((_one(item, record, question) for item in items), **kwargs)
        given = (inputs, record, question, previous)
        lists = [isinstance(x, list | tuple) and not is_pair(x) for x in given]
        if not any(lists):
            return super().__call__(_one(inputs, record, question, previous), **kwargs)
        if lists[0] and not inputs:
            return []
        rows = [
            _one(a.volume, record and a.record, question and a.question, a.previous)
            for a in line_up(inputs, record, question, previous)
        ]
        return super().__call__(rows, **kwargs)

    def _sanitize_parameters(
        self, generate_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        for name in kwargs:
            if name not in _GENERATE:
                raise TypeError(f"{TASK} got an unexpected keyword argument {name!r}")
        return {}, {**kwargs, **(generate_kwargs or {})}, {}

    def preprocess(self, input_: Asked, **_: Any) -> dict[str, Any]:
        question, notes = clean_question(input_.question)
        record, more = clean_text(input_.record) if input_.record else ("", ())
        size = self.processor.image_processor.size
        pixel_values = torch.empty(0, 1, size, size, size)
        cubes = [self.processor.image_processor.cube(scan) for scan in input_.scans]
        if cubes:
            pixel_values = self.processor.image_processor(cubes).pixel_values
        seen = [finding for cube in cubes for finding in cube.findings]
        prompt = self.processor.prompts.prompt(
            record, question, image=bool(cubes), previous=input_.previous is not None
        )
        cut = [_cut(prompt.record_tokens_cut)] if prompt.record_tokens_cut else []
        ids = torch.tensor([prompt.ids])
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "pixel_values": pixel_values,
            "question": question,
            "findings": [f.as_dict() for f in (*seen, *notes, *more, *cut, NO_GATE)],
        }

    def _forward(  # type: ignore[override]
        self, input_tensors: dict[str, Any], **generate_kwargs: Any
    ) -> dict[str, Any]:
        pixel_values: Tensor = input_tensors["pixel_values"]
        generated = self.model.generate(
            input_ids=input_tensors["input_ids"],
            attention_mask=input_tensors["attention_mask"],
            pixel_values=pixel_values if len(pixel_values) else None,
            **self._prepare_generate_kwargs(generate_kwargs),
        )
        sequences: Tensor = (
            generated["sequences"] if isinstance(generated, ModelOutput) else generated
        )
        rows = len(input_tensors["input_ids"])
        return {
            "sequences": sequences.view(rows, -1, sequences.shape[-1]),  # some for each prompt
            "question": input_tensors["question"],
            "findings": input_tensors["findings"],
        }

    def postprocess(
        self, model_outputs: dict[str, Any], **_: Any
    ) -> PipelineAnswer | list[PipelineAnswer]:
        answers = [
            PipelineAnswer(
                answer=text,
                question=model_outputs["question"],
                findings=model_outputs["findings"],
                notice=RESEARCH_USE,
            )
            for text in self.processor.batch_decode(model_outputs["sequences"][0])
        ]
        return answers[0] if len(answers) == 1 else answers

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write model and processor into one folder; ``kwargs`` are the model's."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)


def _one(item: Any, record: Any, question: Any, previous: Any = None) -> Asked:
    """One prompt from a scan, or from a dictionary that says more."""
    given = dict(item) if isinstance(item, dict) else {"volume": item}
    shared = {"record": record, "question": question, "previous": previous}
    if unknown := sorted(given.keys() - {"volume", *shared}):
        known = "volume, record, question and previous"
        raise TypeError(f"{TASK}: {unknown} in a prompt; expected {known}")
    given |= {k: v for k, v in shared.items() if given.get(k) is None}
    given = {k: v for k, v in given.items() if v is not None}
    if not given:
        raise UsageError(TASK, "no volume, record or question was given")
    return Asked(**given)


def _cut(tokens: int) -> Finding:
    problem = f"{tokens} tokens were cut from its middle; prefix and question are whole"
    return Finding("record-cut", "warning", "record", problem, "shorten the record")


def register() -> None:
    """Make ``transformers.pipeline`` know :data:`TASK`."""
    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        pipeline_class=MedBlipPipeline,
        pt_model=AutoModelForImageTextToText,
        type="multimodal",
    )


__all__ = ["TASK", "MedBlipPipeline", "PipelineAnswer", "register"]
