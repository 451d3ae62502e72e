"""The recipe: everything a run is made from, typed, on disk as YAML, printed as resolved."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from medblip.errors import InputError, UsageError
from medblip.storage import write_text
from medblip.study.record import DEFAULT_FIELDS, RecordForm

MAX_RECIPE_BYTES = 1 << 20
FLOAT16 = ("float16", "fp16", "half", "16", "16-mixed")
FLOAT16_OVERFLOWS = (
    "float16 holds nothing above 65,504, which activations of EVA-CLIP ViT-g and T5 pass, and the "
    "loss becomes infinite: use bfloat16, which has the range of float32, or float32"
)
STAGE_NAMES = ("align", "tune", "end_to_end")


def _refuse_float16(value: Any) -> Any:
    if str(value) in FLOAT16:
        raise ValueError(FLOAT16_OVERFLOWS)
    return value


NO_FLOAT16 = BeforeValidator(_refuse_float16)
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QFormerSection(_Section):
    """Size of the MedQFormer; the paper's is 32 queries of 768, 12 layers."""

    num_query_tokens: int = Field(32, ge=1)
    hidden_size: int = Field(384, ge=8)
    num_hidden_layers: int = Field(4, ge=1)
    num_attention_heads: int = Field(6, ge=1)
    intermediate_size: int = Field(1536, ge=8)
    cross_attention_frequency: int = Field(2, ge=1)
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(0.1, ge=0, lt=1)


class LoraSection(_Section):
    """LoRA on query and value of every attention block of the language model.

    Attributes:
        target_modules: names of other modules to adapt; None finds query and value.
    """

    r: int = Field(8, ge=1)
    lora_alpha: int = Field(16, ge=1)
    lora_dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] | None = None


class ModelSection(_Section):
    """Which frozen towers, and the sizes of what is learned between them.

    Attributes:
        vision, language: where the frozen weights come from: ``embedded:...``, a folder, or a hub
            id at a revision. A checkpoint of a whole vision-language model (BLIP-2, SigLIP,
            Gemma 3) gives the tower inside it.
        vision_architecture, language_architecture: the tower's configuration as far as the recipe
            relies on it. It lets a recipe be planned without any weights, and weights that say
            otherwise are refused.
        base_dtype: of the frozen weights in memory; what is learned is float32.
        qformer_init: folder that ``medblip convert blip2`` wrote, to start the MedQFormer from.
        patch_init, skip_background, itc_*, prompt_order: see :class:`medblip.MedBlipConfig`.
        train_patch_embedding: learn the 3D patch embedding too. Volumes then pass through the
            vision tower in every step; otherwise its tokens are computed once and cached.
        attention: of the language model.
        gradient_checkpointing: compute activations again in the backward pass: less memory, more
            time. ``auto`` does so only where the plan of a step does not fit the device; a number
            from 0 to 1 takes that share of the towers' layers.
    """

    vision: str = "embedded:vision"
    vision_revision: str | None = None
    vision_architecture: dict[str, Any] | None = None
    language: str = "embedded:language"
    language_revision: str | None = None
    language_architecture: dict[str, Any] | None = None
    base_dtype: Annotated[Literal["float32", "bfloat16"], NO_FLOAT16] = "float32"
    volume_size: int = Field(112, ge=8)
    volume_patch_size: int = Field(16, ge=2)
    patch_init: Literal["inflate", "random"] = "inflate"
    train_patch_embedding: bool = False
    skip_background: bool = True
    qformer: QFormerSection = QFormerSection()
    qformer_init: str | None = None
    itc_hidden_size: int = Field(256, ge=1)
    itc_temperature: float = Field(0.07, gt=0)
    itc_label_smoothing: float = Field(0.1, ge=0, lt=1)
    itc_targets: Literal["same_text", "one_hot"] = "same_text"
    prompt_order: Literal["image_text_question", "question_image_text"] = "image_text_question"
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    gradient_checkpointing: bool | Literal["auto"] | Share = False
    lora: LoraSection | None = LoraSection()


class RecordSection(_Section):
    """What the record text says, and how.

    Attributes:
        fields: each can be switched off by leaving its name out.
        wording: ``short`` as a clinician notes, ``long`` in whole sentences.
        units: say the unit or the highest score after each value that has one.
        drop_label_defining_fields: leave out, session by session, the fields that its label was
            made from (``label_defined_by`` in ``sessions.tsv``).
    """

    fields: tuple[str, ...] = DEFAULT_FIELDS
    wording: Literal["short", "long"] = "short"
    units: bool = False
    drop_label_defining_fields: bool = False

    @property
    def form(self) -> RecordForm:
        return RecordForm(self.fields, self.wording, self.units)


class AugmentSection(_Section):
    """Changes of a volume in training, drawn anew for each sample; 0 switches each off.

    There are no flips: left and right mean something in a brain.

    Attributes:
        rotate_degrees, scale, shift: largest rotation about each axis, relative change of size,
            and shift as a share of the edge; uniform in between.
        gamma, noise, bias_field: largest exponent change of intensities, sd of added noise, and
            relative size of a smooth field, on intensities in [0, 1].
    """

    rotate_degrees: float = Field(0.0, ge=0, le=45)
    scale: float = Field(0.0, ge=0, lt=0.5)
    shift: float = Field(0.0, ge=0, lt=0.5)
    gamma: float = Field(0.0, ge=0, lt=1)
    noise: float = Field(0.0, ge=0, le=0.5)
    bias_field: float = Field(0.0, ge=0, lt=1)

    @property
    def wanted(self) -> bool:
        return any(value > 0 for value in self.model_dump().values())


class StageSection(_Section):
    """One stage of training.

    Attributes:
        steps: optimizer steps; ``0`` leaves the stage out.
        epochs: passes over the training sessions, instead of ``steps``.
        batch_size: samples an optimizer step, over all processes.
        micro_batch_size: samples that one process takes at a time; steps of more are accumulated,
            with the same contrastive losses over the whole batch. None: its whole share at once.
        learning_rate, prefix_learning_rate, lora_learning_rate: peaks of the MedQFormer's side,
            the map into the language model, and LoRA; linear warm-up, then cosine. The map is
            new when stage 2 begins, while the MedQFormer is not.
        itc_record, itc_answer, language: weights of the losses (Eqs. 4 and 5). A stage without
            ``language`` never runs the language model.
        itc_choices: weight of the contrast of an image with a closed question's right choice among
            its choices, for stages that ask questions.
        betas: of AdamW.
        max_gradient_norm: gradients are clipped to it.
        ema_decay: keep an exponential moving average of what is learned, which is then validated
            and kept; 0 keeps none.
        patience: stop after so many looks at the validation split without a lower log loss.
        balance: draw each ``class``, each ``cohort``, or each class of each cohort equally often.
        bucket: sort the samples of so many steps by the length of their text before they are cut
            into batches, so that less is padded; 0 leaves the order alone.
        field_dropout: leave fields out of the record at random: a share, or ``cohorts``, each
            field as often as it is missing in the study's own cohorts.
        augment: changes of the volumes; only where volumes pass through the encoder.
        token_dropout: share of image tokens left out at random.
        token_noise: sd of noise on image tokens, in units of the tokens' own sd.
        without_image, blank_image, without_record: shares of samples that show the record alone,
            the record with a blank image, and the image alone.
        evaluate_every: steps between looks at the validation split.
        evaluate_sessions: how many of its subjects are looked at, evenly spaced; None for all.
        questions: what is asked: the ``diagnosis`` after the record; ``vqa``, the questions of the
            study's ``questions.jsonl`` about the scan alone; or ``both``, equally often, of which
            the diagnosis alone has ``itc_record`` and ``itc_answer``.
        choices_shown: share of the closed questions that are shown with their choices; the others
            are asked as if they were open. Where no stage shows any, none are shown when the
            model is evaluated either: its choices are then weighed without being named.
        closed_first: share of the steps, the first ones, that ask single closed questions alone;
            then what is open or follows other turns joins them.
    """

    steps: int = Field(0, ge=0)
    epochs: float | None = Field(None, gt=0)
    batch_size: int = Field(8, ge=1)
    micro_batch_size: int | None = Field(None, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    prefix_learning_rate: float = Field(3e-3, gt=0)
    lora_learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    betas: tuple[float, float] = (0.9, 0.98)
    max_gradient_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.0, ge=0, lt=1)
    patience: int | None = Field(None, ge=1)
    balance: Literal["none", "class", "cohort", "class_and_cohort"] = "none"
    bucket: int = Field(0, ge=0)
    field_dropout: float | Literal["cohorts"] = Field(0.0)
    augment: AugmentSection = AugmentSection()
    itc_record: float = Field(1.0, ge=0)
    itc_answer: float = Field(1.0, ge=0)
    itc_choices: float = Field(0.0, ge=0)
    language: float = Field(1.0, ge=0)
    token_dropout: float = Field(0.5, ge=0, lt=1)
    token_noise: float = Field(0.3, ge=0)
    without_image: float = Field(0.0, ge=0, le=1)
    blank_image: float = Field(0.0, ge=0, le=1)
    without_record: float = Field(0.0, ge=0, le=1)
    evaluate_every: int = Field(100, ge=1)
    evaluate_sessions: int | None = Field(None, ge=1)
    save_every: int = Field(100, ge=1)
    questions: Literal["diagnosis", "vqa", "both"] = "diagnosis"
    choices_shown: Share = 0.5
    closed_first: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if not self.model_fields_set & {"steps", "epochs"} or (self.steps and self.epochs):
            raise ValueError("give either steps or epochs")
        if isinstance(self.field_dropout, float) and not 0 <= self.field_dropout < 1:
            raise ValueError("field_dropout is a share from 0 to below 1, or `cohorts`")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas are from 0 to below 1")
        return self

    @model_validator(mode="after")
    def _questions_have_their_losses(self) -> Self:
        if not self.runs:
            return self
        if self.questions == "diagnosis":
            if self.itc_choices:
                raise ValueError("itc_choices contrasts choices of questions: set questions to vqa")
            return self
        if self.itc_answer and self.questions == "vqa":
            raise ValueError(
                "itc_answer must be 0 where questions is vqa: many images share an "
                "answer such as yes, so ITC(I, Q&A) would pull unlike images to one text; "
                "itc_choices sets an answer against the question's other choices instead"
            )
        if not (self.language or self.itc_choices):
            raise ValueError(
                f"questions is {self.questions}, which only the language loss and itc_choices learn"
            )
        return self

    @property
    def runs(self) -> bool:
        """Whether the stage has any step."""
        return bool(self.steps or self.epochs)

    def resolved(self, sessions: int) -> Self:
        """The stage with its ``steps`` for so many training sessions, derived from ``epochs``."""
        if self.epochs is None:
            return self
        steps = max(1, round(self.epochs * sessions / self.batch_size))
        return self.model_copy(update={"steps": steps, "epochs": None})


class Recipe(_Section):
    """A whole run.

    Attributes:
        precision: ``auto`` uses bfloat16 where the device computes it natively, else float32;
            ``tf32`` is float32 whose products a GPU may round to ten bits.
        compile: let ``torch.compile`` make kernels of the model: minutes at the start, which long
            runs on a GPU earn back.
        sessions: of each training subject: all, or the first.
        train_share: share of the training subjects of each label that is trained on, at least one
            of each; smaller shares lie in larger ones. Validation and tests stay whole.
        align: stage 1, contrastive losses alone on cached tokens.
        tune: stage 2, all losses.
        end_to_end: stage 3, all losses; it learns the patch embedding too, whatever
            ``model.train_patch_embedding`` says. Left out unless it has steps.
    """

    name: str = "custom"
    seed: int = Field(0, ge=0)
    precision: Annotated[Literal["auto", "float32", "tf32", "bfloat16"], NO_FLOAT16] = "auto"
    compile: bool = False
    sessions: Literal["all", "first"] = "all"
    train_share: float = Field(1.0, gt=0, le=1)
    model: ModelSection = ModelSection()
    record: RecordSection = RecordSection()
    align: StageSection
    tune: StageSection
    end_to_end: StageSection = StageSection(steps=0)

    def stages(self) -> dict[str, StageSection]:
        """The three stages by name, in order; some may have no steps."""
        return {name: getattr(self, name) for name in STAGE_NAMES}

    def learns_entry(self, stage: str) -> bool:
        """Whether a stage learns the 3D patch embedding, so that no token of it can be cached."""
        return self.model.train_patch_embedding or stage == "end_to_end"

    @property
    def asks_questions(self) -> bool:
        """Whether a stage asks the questions of the study."""
        return any(
            stage.runs and stage.questions != "diagnosis" for stage in self.stages().values()
        )

    @property
    def shows_choices(self) -> bool:
        """Whether closed questions are evaluated with their choices in the prompt.

        They are unless the stages that ask questions never show them.
        """
        asking = [s for s in self.stages().values() if s.runs and s.questions != "diagnosis"]
        return not asking or any(stage.choices_shown > 0 for stage in asking)

    @model_validator(mode="after")
    def _each_stage_changes_what_it_has(self) -> Self:
        for name, stage in self.stages().items():
            if not stage.runs:
                continue
            if not self.learns_entry(name):
                if stage.augment.wanted:
                    raise ValueError(
                        f"{name}.augment changes volumes, but this stage reads cached tokens: "
                        "set model.train_patch_embedding, or augment in end_to_end"
                    )
            elif stage.token_dropout or stage.token_noise:
                raise ValueError(
                    f"{name}.token_dropout and {name}.token_noise change cached tokens, which a "
                    "stage that learns the patch embedding has none of: set both to 0"
                )
        return self

    def to_yaml(self) -> str:
        text: str = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        return text

    def write(self, path: Path) -> None:
        write_text(path, self.to_yaml())


def shipped_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name."""
    folder = Path(str(resources.files("medblip") / "recipes"))
    files = sorted(folder.rglob("*.yaml"))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        source: path of a YAML file, or the name of a shipped recipe such as ``embedded`` or
            ``paper/biomedlm-lora``. Its key ``extends`` may name another recipe (a shipped one, or
            a file beside it), whose values hold where it says nothing.
        overrides: ``key.path=value`` pairs; values are YAML.

    Raises:
        InputError: the file is absent, not YAML, or breaks the schema; a misspelled key names
            the nearest.
        UsageError: an override is not ``key=value``.
    """
    path = shipped_recipes().get(str(source), Path(source))
    values = _read_extended(path)
    for override in overrides:
        values = _apply(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError(path.name, _explain(error), code="bad-recipe") from error


def _read_extended(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's values over those of the recipe it extends."""
    values = _read_yaml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    origin = shipped_recipes().get(str(parent), path.parent / str(parent))
    if origin in (path, *seen):
        raise InputError(path.name, f"`extends: {parent}` leads back to itself", code="bad-recipe")
    return _merged(_read_extended(origin, (path, *seen)), values)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` upon ``under``, section by section; another architecture replaces the whole one."""
    result = dict(under)
    for this, other in (("steps", "epochs"), ("epochs", "steps")):
        if this in over:
            result.pop(other, None)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and "model_type" not in value:
            value = _merged(below, value)
        result[key] = value
    return result


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        known = ", ".join(shipped_recipes())
        raise InputError(
            str(path), "no such recipe", f"give a YAML file, or one of: {known}", code="no-recipe"
        )
    if path.stat().st_size > MAX_RECIPE_BYTES:
        raise InputError(path.name, "larger than 1 MiB, which no recipe is", code="bad-recipe")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path.name, f"not readable as YAML ({error})", code="bad-recipe") from error
    if not isinstance(values, dict):
        raise InputError(path.name, "holds no `key: value` pairs", code="bad-recipe")
    return values


def _apply(values: dict[str, Any], override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(override, "expected key=value, e.g. tune.steps=500", code="bad-override")
    value = yaml.safe_load(text)
    for part in reversed(key.split(".")):
        value = {part: value}
    return _merged(values, value)


def _explain(error: ValidationError) -> str:
    return "; ".join(_explain_one(item) for item in error.errors(include_url=False))


def _explain_one(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{where}: {item['msg']}, found {item['input']!r}"
    section: Any = Recipe
    for part in item["loc"][:-1]:
        section = _section_of(section.model_fields[part].annotation)
    nearest = difflib.get_close_matches(str(item["loc"][-1]), section.model_fields, n=1)
    hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
    return f"unknown key `{where}`{hint}"


def _section_of(annotation: Any) -> Any:
    """The section class of a field's annotation, optional or not."""
    options = getattr(annotation, "__args__", (annotation,))
    return next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
