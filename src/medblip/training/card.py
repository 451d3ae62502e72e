"""The model card: README.md of a checkpoint folder, for the model hub and for readers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from medblip import notice
from medblip.model.base_licences import HUB, Licence, licence_of
from medblip.model.weight_files import opened, safetensors_files
from medblip.storage import write_text
from medblip.study.labels import ANSWERS, LABELS
from medblip.training.card_facts import BaseFact, CardFacts, Number, ResultFact

CARD_FILE = "README.md"
TASK = "image-text-to-text"
PUBLISHED_AS = {"embedded:language": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # then quantised
# Metrics on the hub: our name -> the hub's type, and a reader's name.
METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "macro_auc": ("roc_auc", "Macro AUC, one against rest"),
    "macro_f1": ("f1", "Macro F1"),
}
SPLITS_SAID = {
    "train": "training",
    "validation": "validation",
    "test": "test",
    "zero_shot": "test of cohorts never trained on",
}


def write_card(checkpoint: Path, facts: CardFacts) -> Path:
    """Write README.md and the facts behind it into a checkpoint folder; returns README.md."""
    facts.write(checkpoint)
    write_text(checkpoint / CARD_FILE, render_card(checkpoint, facts))
    return checkpoint / CARD_FILE


def render_card(checkpoint: Path, facts: CardFacts) -> str:
    """The card of the weights in ``checkpoint``; the same content gives the same text."""
    # Markdown, not HTML: what comes from outside passes through the filter `md`.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("medblip.training"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": _plain, "percent": _percent, "decimal": _decimal}
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    text = environment.get_template("card.md.jinja").render(
        f=facts,
        name=_name(facts),
        bases=[(base, licence_of(base.source)) for base in facts.bases],
        needed=[r for r in ("vision", "language") if config.get(f"{r}_base")],
        parameters=_parameters(checkpoint),
        labels=LABELS,
        answers=ANSWERS,
        splits=SPLITS_SAID,
        hub=HUB,
        research_use=notice.RESEARCH_USE,
        simulated_data=notice.SIMULATED_DATA,
    )
    card = ModelCard(f"---\n{_metadata(facts).to_yaml()}\n---\n\n{text}")
    return str(card.content)


def _metadata(facts: CardFacts) -> ModelCardData:
    """The front matter, by the hub's own class."""
    licences = [licence_of(base.source) for base in facts.bases]
    return ModelCardData(
        **_licence(licences),
        language="en",
        library_name="medblip",
        pipeline_tag=TASK,
        base_model=[name for base in facts.bases if (name := _hub_id(base))] or None,
        tags=_tags(facts),
        model_name=_name(facts) if facts.results else None,
        eval_results=_eval_results(facts) or None,
    )


def _licence(found: Sequence[Licence | None]) -> dict[str, Any]:
    """One licence only where every base has the same; else the card's own list is the answer."""
    keys = {None if licence is None else licence.key for licence in found}
    key = keys.pop() if len(keys) == 1 else None
    if key is not None and key != "other":
        return {"license": key}
    return {
        "license": "other",
        "license_name": "see-licences-of-the-bases",
        "license_link": CARD_FILE,
    }


def _hub_id(base: BaseFact) -> str | None:
    return base.source if base.hub else PUBLISHED_AS.get(base.source)


def _tags(facts: CardFacts) -> list[str]:
    tags = ["medblip", "transformers", "brain-mri", "3d", "neuroimaging", "research-only"]
    if facts.lora is not None and not facts.merged:
        tags.append("lora")
    return [*tags, "simulated-data"] if facts.simulated else tags


def _name(facts: CardFacts) -> str:
    recipe = facts.training.recipe if facts.training else ""
    return "-".join(["medblip", *re.findall(r"[\w.]+", recipe)])


def _eval_results(facts: CardFacts) -> list[EvalResult]:
    if facts.results is None:
        return []
    splits = {"full": "test", "zero_shot": "zero_shot"}
    return [
        result
        for row in facts.results.rows
        if row.kind in splits
        for result in _row_results(facts, row, splits[row.kind])
    ]


def _row_results(facts: CardFacts, row: ResultFact, split: str) -> list[EvalResult]:
    cohorts = sorted({fact.cohort for fact in facts.data if fact.split == split})
    measured = {name: getattr(row, name) for name in METRICS}
    confidence = facts.results.confidence if facts.results else None
    return [
        EvalResult(
            task_type=TASK,
            task_name="Diagnosis from a T1-weighted scan and a record, three labels",
            dataset_type="medblip-study",
            dataset_name=", ".join(cohorts) or "not recorded",
            dataset_split=split,
            metric_type=METRICS[name][0],
            metric_name=METRICS[name][1],
            metric_value=round(number.value, 4),
            metric_args={
                "confidence": confidence,
                "low": _rounded(number.low),
                "high": _rounded(number.high),
                "resampled": "subjects",
            },
        )
        for name, number in measured.items()
        if number.value is not None
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _parameters(checkpoint: Path) -> int:
    """How many numbers the folder's weights hold, the adapter's included; headers alone."""
    total = 0
    for file in [*safetensors_files(checkpoint), *checkpoint.glob("adapter/*.safetensors")]:
        with opened(file) as weights:
            names = weights.keys()
            total += sum(math.prod(weights.get_slice(name).get_shape()) for name in names)
    return total


def _plain(text: Any) -> str:
    """A text in Markdown that stays the text it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", " ".join(str(text).split()))


def _percent(number: Number | None, sign: bool = False) -> str:
    """``73.3 (68.1 to 78.2)``; without an interval where there is none."""
    if number is None or number.value is None:
        return "-"
    form = "{:+.1f}" if sign else "{:.1f}"
    text = form.format(100 * number.value)
    if number.low is None or number.high is None:
        return text
    return f"{text} ({form.format(100 * number.low)} to {form.format(100 * number.high)})"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


__all__ = ["CARD_FILE", "render_card", "write_card"]
