"""Tables 2, 4, 5 and 6 as lists of settings, at the embedded size and at the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from medblip.errors import UsageError
from medblip.experiments.paper_tables import (
    CONDITIONS,
    FROZEN,
    FULL,
    IMAGE_TEXT_FIRST,
    ITC_BOTH,
    ITC_RECORD,
    LANGUAGE_MODELS,
    LORA,
    LOW_DATA,
    QFORMER,
    QUESTION_FIRST,
    TEXT_ONLY,
    VIT,
)
from medblip.experiments.trials import QUESTIONS, Setting, Trial

RecipeSize = Literal["embedded", "paper", "tiny"]

TABLES = {"table2": 2, "table4": 4, "table5": 5, "table6": 6}
CURVES = {"lowdata": LOW_DATA}  # ours, not the paper's; they come after all tables
FIGURES = ("figure3", "figure4")  # made of the trials of Table 3, which come last
ASKED = dict.fromkeys(("table3", *FIGURES), 3)
COUNTED = "table1"  # has no trials
SHARES = (0.01, 0.05, 0.25, 1.0)  # of the training subjects
ALL = "all"
UNTUNED, PLAIN_RECORD = "untuned", "lora_plain_record"
VIT_SCRATCH, ITC_NONE = "vit_scratch", "itc_none"
SMOLLM2 = "smollm2"

NO_TRAINING = ("align.steps=0", "tune.steps=0", "end_to_end.steps=0")
NO_LORA = ("model.lora=null",)
NO_CONTRAST = ("align.steps=0", "tune.itc_record=0", "tune.itc_answer=0")
# The validation split is answered with its images, which this model never learns to read: the
# last step's weights are kept, as the look after it is the only one.
RECORD_ALONE = (
    *NO_CONTRAST,
    "tune.without_image=1",
    "tune.blank_image=0",
    "tune.without_record=0",
    "tune.evaluate_every=1000000000",
)
PLAIN_FIELDS = ("record.fields=[age, sex, education_years]",)
# The MedQFormer learns what to look for from the choices, beside the diagnosis, without which it
# does not begin to learn; then the language model learns to say it.
ASKED_CHANGES = (
    *("align.questions=both", "align.itc_choices=1"),
    *("tune.questions=vqa", "tune.itc_answer=0", "tune.itc_choices=1"),
)
QUESTION_MINUTES = 40.0


@dataclass(frozen=True)
class Size:
    """What the tables are made from at one size.

    Attributes:
        name: ``embedded``, ``paper`` or ``tiny``.
        models: language model -> recipe with LoRA.
        main: the model of Tables 4 to 6, whose LoRA row gives the controls.
        titles: of rows and models that the paper has not, or that are not quite the paper's.
        stand_ins: our row -> the paper's that it is run in the place of.
        contrast_only: changes after which image and answer alone are learnt, without a language
            model; ``entry`` those that learn the 3D patch embedding in it.
        questions: recipe of what learns a study's questions; that of ``main`` if empty.
        minutes: by setting, see `Setting.minutes`.
        notes: table -> what a reader should know about it at this size.
        means_nothing: why no number of this size means anything, which decides no claim then;
            empty where they mean something.
    """

    name: RecipeSize
    models: Mapping[str, str]
    main: str
    titles: Mapping[str, str]
    contrast_only: tuple[str, ...]
    entry: tuple[str, ...]
    entry_lengths: tuple[str, ...] = ()
    questions: str = ""
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    minutes: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[int, str] = field(default_factory=dict)
    means_nothing: str = ""


_OURS = {
    VIT_SCRATCH: "Trainable 3D entry from random weights, frozen blocks, linear head, image only",
    VIT: "Trainable 3D entry from the 2D weights, frozen blocks, linear head, image only",
    QFORMER: "MedQFormer, linear head, image only",
    ITC_NONE: "No ITC loss, no alignment",
}


def row_titles(models: Mapping[str, str]) -> dict[str, str]:
    """Titles of language models, by key, and of all rows that are made of them or are ours."""
    rows = dict(_OURS)
    for key, name in models.items():
        rows |= {f"{key}.{how}": f"{name}, {said}" for how, said in CONDITIONS.items()}
        rows[f"{key}.{UNTUNED}"] = f"{name}, text only, not tuned at all"
        rows[f"{key}.{PLAIN_RECORD}"] = f"{name}, LoRA, record without label-defining fields"
    return rows | dict(models)


EMBEDDED = Size(
    name="embedded",
    models={SMOLLM2: "embedded"},
    main=SMOLLM2,
    titles=row_titles({SMOLLM2: "SmolLM2-135M"}),
    contrast_only=("tune.steps=0", "align.itc_record=0"),
    entry=(
        "model.train_patch_embedding=true",
        *("align.token_dropout=0", "align.token_noise=0", "tune.token_dropout=0"),
        "tune.token_noise=0",
    ),
    entry_lengths=("align.steps=150", "align.batch_size=8", "align.evaluate_sessions=60"),
    questions="embedded-questions",
    stand_ins={f"{SMOLLM2}.{how}": f"biomedlm.{how}" for how in CONDITIONS},
    # About 7 minutes of training and 1.5 of scoring on two quiet cores; the controls are most of
    # the scoring.
    minutes={
        "full": 8.5,
        "no_controls": 7.5,
        "text_only": 4.5,
        "untuned": 1.0,
        "entry": 9.0,
        "queries": 5.0,
        QUESTIONS: QUESTION_MINUTES,
    },
    notes={
        2: "Language models with real weights here: SmolLM2 alone, a decoder-only one. The T5 and "
        "GPT-2 families run at tiny size only, with random weights (--recipe-size tiny), as no "
        "small pretrained model of theirs is at hand."
    },
)
PAPER = Size(
    name="paper",
    models={key: f"paper/{key}-lora" for key in LANGUAGE_MODELS},
    main="biomedlm",
    titles=row_titles(LANGUAGE_MODELS),
    contrast_only=("align.steps=0", "tune.language=0", "tune.itc_record=0"),
    entry=("model.train_patch_embedding=true",),
)
# The tiny one is made when it is asked for: `medblip.experiments.tiny_size.size_named`.
SIZES: dict[RecipeSize, Size] = {"embedded": EMBEDDED, "paper": PAPER}


def settings_of(table: int, size: Size) -> dict[str, Setting]:
    """The rows of a table, or the points of a curve, by key."""
    full = _full(size, size.main)
    if table == LOW_DATA:
        return {share_row(share): _low_data(size, share) for share in SHARES}
    if table == ASKED["table3"]:
        return {FULL: _on_questions(size)}
    if table == 2:
        return {
            f"{model}.{how}": setting
            for model in size.models
            for how, setting in _conditions(size, model).items()
        }
    if table == 4:
        return {**_image_only(size), FULL: full}
    recipe, usual = size.models[size.main], size.minutes.get("no_controls")
    if table == 5:
        last = Setting(recipe, (f"model.prompt_order={QUESTION_FIRST}",), minutes=usual)
        return {IMAGE_TEXT_FIRST: full, QUESTION_FIRST: last}
    record_alone = ("align.itc_answer=0", "tune.itc_answer=0")
    return {
        ITC_NONE: Setting(recipe, NO_CONTRAST, minutes=usual),
        ITC_RECORD: Setting(recipe, record_alone, minutes=usual),
        ITC_BOTH: full,
    }


def trials_of(
    what: str, size: Size, seeds: Sequence[int], overrides: Sequence[str] = ()
) -> list[Trial]:
    """All trials of a table or of all, seed by seed: what is cut short has whole tables.

    Of all, the curves come after every seed of the tables, and what asks questions last.

    Raises:
        UsageError: there is no such table, or a seed is given twice or is below 0.
    """
    named = {**TABLES, **CURVES, **ASKED}
    if what not in (*named, COUNTED, ALL):
        names = ", ".join(sorted((*named, COUNTED))) + f", {ALL}"
        raise UsageError(what, "there is no such experiment", f"expected one of {names}")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        given = " ".join(map(str, seeds))
        raise UsageError("--seeds", f"found {given!r}; expected numbers from 0, each once")
    last = sorted(set(ASKED.values()))
    of_all = [[*TABLES.values()], [*CURVES.values()], last]
    parts = of_all if what == ALL else [[named[what]] if what in named else []]
    return [
        Trial(table, row, setting, seed, tuple(overrides))
        for tables in parts
        for seed in seeds
        for table in tables
        for row, setting in settings_of(table, size).items()
    ]


def share_row(share: float) -> str:
    """Key of a point of the low-data curve: ``share_25`` for a quarter of the subjects."""
    return f"share_{round(share * 100)}"


def _low_data(size: Size, share: float) -> Setting:
    """The full model on a share of the training subjects; on all of them it is that of the tables.

    It takes as many steps, so that only the number of subjects differs.
    """
    if share == 1:
        return _full(size, size.main)
    minutes = size.minutes.get("no_controls")
    return Setting(size.models[size.main], (f"train_share={share}",), minutes=minutes)


def _on_questions(size: Size) -> Setting:
    """The full model, which learns the study's questions in the place of the diagnosis."""
    minutes = size.minutes.get(QUESTIONS)
    recipe = size.questions or size.models[size.main]
    return Setting(recipe, ASKED_CHANGES, QUESTIONS, minutes=minutes)


def _full(size: Size, model: str) -> Setting:
    main = model == size.main
    minutes = size.minutes.get("full" if main else "no_controls")
    return Setting(size.models[model], controls=main, minutes=minutes)


def _conditions(size: Size, model: str) -> dict[str, Setting]:
    """A language model's rows of Table 2, and beside them what the paper did not run."""
    recipe, minutes = size.models[model], size.minutes.get
    untuned = (*NO_LORA, *NO_TRAINING)
    usual = minutes("no_controls")
    return {
        UNTUNED: Setting(recipe, untuned, "record", minutes=minutes("untuned")),
        TEXT_ONLY: Setting(recipe, RECORD_ALONE, "record", minutes=minutes("text_only")),
        FROZEN: Setting(recipe, NO_LORA, minutes=usual),
        LORA: _full(size, model),
        PLAIN_RECORD: Setting(recipe, PLAIN_FIELDS, minutes=usual),
    }


def _image_only(size: Size) -> dict[str, Setting]:
    """Table 4 without the full model. None of these sees a record."""
    recipe, minutes = size.models[size.main], size.minutes.get
    entry = (*size.contrast_only, *size.entry)
    scratch = (*entry, "model.patch_init=random")
    inflated = (*entry, "model.patch_init=inflate")
    long, lengths = minutes("entry"), size.entry_lengths
    return {
        VIT_SCRATCH: Setting(recipe, scratch, "image_tokens", lengths, minutes=long),
        VIT: Setting(recipe, inflated, "image_tokens", lengths, minutes=long),
        QFORMER: Setting(recipe, size.contrast_only, "queries", minutes=minutes("queries")),
    }
