"""``medblip export``: a checkpoint in another form, proven to answer as its source does."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from numpy.typing import NDArray

from medblip.errors import InputError, UsageError
from medblip.evaluation.calibration import CALIBRATION_FILE, Temperature
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.conversion.output_folder import refuse_used, whole_folder
from medblip.model.likelihood import score_answers
from medblip.model.merging import merge_lora as merge_lora_into
from medblip.study.labels import ANSWERS, LABELS, QUESTION
from medblip.training.card import write_card
from medblip.training.card_facts import CardFacts
from medblip.training.precision import pick_device
from medblip.training.run_folder import DONE_FILE, MODEL_FOLDER, RECIPE_FILE

# float16 is none: EVA-CLIP's ViT-g and T5 overflow in it.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# How far a log-probability x may move, in units of 1 + |x|: by another order of sums; by LoRA
# added into the weights; by bfloat16, which keeps 8 bits.
SAME, MERGED, ROUNDED = 1e-5, 1e-3, 5e-2


@dataclass(frozen=True)
class Exported:
    """A folder that was written, and what was proven about it.

    Attributes:
        full: it holds every weight and needs no base.
        files, size: how many files, and their bytes.
        tensors: how many tensors were compared with the source, value by value.
        difference: largest change of an answer's log-probability on a test volume.
    """

    folder: Path
    full: bool
    files: int
    size: int
    tensors: int
    difference: float


def export(
    source: Path,
    out: Path,
    *,
    full: bool = False,
    merge_lora: bool = False,
    max_shard_size: int | str = "5GB",
    dtype: str | None = None,
) -> Exported:
    """Write the checkpoint of ``source`` to ``out`` with processor, calibration and model card.

    The result is loaded again and compared with the source before it gets its name, so that
    ``out`` holds a proven checkpoint or nothing.

    Args:
        source: run folder or checkpoint folder.
        out: a folder that is not there yet, or is empty.
        full: write every weight, so that no base is needed.
        merge_lora: add LoRA into the language model, whose weights are then written.
        max_shard_size: largest weight file, in bytes or as a text such as ``5GB``.
        dtype: ``float32`` or ``bfloat16``, of the weights that are written; as they are if None.

    Raises:
        InputError: the source is no whole checkpoint, ``out`` is in use, or the result differs.
        UsageError: an option cannot be followed.
    """
    checkpoint = find_checkpoint(source)
    _check_options(max_shard_size, dtype)
    refuse_used(out)
    facts = CardFacts.of_checkpoint(checkpoint)
    Temperature.load(checkpoint)  # raises if it is damaged
    model, processor = _load(checkpoint)
    before = _scores(model, processor)
    if merge_lora:
        merge_lora_into(model)
        facts = facts.model_copy(update={"merged": True})
    if dtype is not None:
        _cast(model, DTYPES[dtype], full)
    wanted = _digests(model, full)
    with whole_folder(out) as folder:
        model.save_pretrained(folder, full=full, max_shard_size=max_shard_size)
        processor.save_pretrained(folder)
        if (checkpoint / CALIBRATION_FILE).exists():
            shutil.copyfile(checkpoint / CALIBRATION_FILE, folder / CALIBRATION_FILE)
        write_card(folder, facts)
        del model  # one at a time: they may be large
        written, processor = _load(folder)
        _check_tensors(wanted, _digests(written, full))
        allowed = ROUNDED if dtype == "bfloat16" else MERGED if merge_lora else SAME
        difference = _check_answers(before, _scores(written, processor), allowed)
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        based = written.config.vision_base or written.config.language_base
    return Exported(out, not based, len(files), size, len(wanted), difference)


def find_checkpoint(source: Path) -> Path:
    """The checkpoint folder of a finished run, or ``source`` itself.

    Raises:
        InputError: the run is not finished, or there is no such folder.
    """
    if (source / DONE_FILE).exists():
        return source / MODEL_FOLDER
    if (source / RECIPE_FILE).exists():
        raise InputError(
            str(source),
            "this run is not finished",
            "run `medblip train` with --out set to it; an interrupted run goes on",
            code="run-not-finished",
        )
    if not source.is_dir():
        raise InputError(
            str(source),
            "there is no such folder",
            "name a run folder, or a checkpoint folder such as runs/1/model",
            code="no-checkpoint",
        )
    return source


def _check_options(max_shard_size: int | str, dtype: str | None) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise UsageError(
            "dtype", f"{dtype!r} is no type to export in", f"choose one of {', '.join(DTYPES)}"
        )
    try:
        split_torch_state_dict_into_shards({}, max_shard_size=max_shard_size)
    except ValueError as error:
        raise UsageError(
            "max_shard_size", f"{max_shard_size!r} is no size", "write for example 5GB or 500MB"
        ) from error


def _load(checkpoint: Path) -> tuple[MedBlipForConditionalGeneration, MedBlipProcessor]:
    model = MedBlipForConditionalGeneration.from_pretrained(checkpoint)
    model.to(pick_device()).eval()  # type: ignore[arg-type]
    return model, MedBlipProcessor.from_pretrained(checkpoint)


def _cast(model: MedBlipForConditionalGeneration, dtype: torch.dtype, full: bool) -> None:
    """Give the weights that will be written their type, in place; those on bases keep theirs."""
    written = _written(model, full)
    for name, parameter in model.named_parameters():
        if name in written:
            parameter.data = parameter.data.to(dtype)


def _written(model: MedBlipForConditionalGeneration, full: bool) -> dict[str, torch.Tensor]:
    """The tensors that a checkpoint of ``model`` holds, LoRA's included."""
    state: dict[str, torch.Tensor] = model.state_dict()
    if full:
        return state
    return model.learned_state() | {n: t for n, t in state.items() if "lora_" in n}


def _digests(model: MedBlipForConditionalGeneration, full: bool) -> dict[str, str]:
    """Hash of each written tensor's values, whatever their type."""
    return {name: _digest(tensor) for name, tensor in _written(model, full).items()}


def _digest(tensor: torch.Tensor) -> str:
    values = tensor.detach().float().cpu().contiguous().numpy()
    return hashlib.sha256(values.data).hexdigest()


def _check_tensors(wanted: dict[str, str], found: dict[str, str]) -> None:
    other = sorted(n for n in wanted.keys() | found if wanted.get(n) != found.get(n))
    if other:
        raise _not_the_same(f"{len(other)} of {len(wanted)} tensors differ, first {other[0]}")


def _check_answers(
    before: NDArray[np.float32], after: NDArray[np.float32], allowed: float
) -> float:
    difference = np.abs(before - after)
    if not bool((difference <= allowed * (1 + np.abs(before))).all()):  # NaN is not less either
        raise _not_the_same(
            f"log-probabilities of its answers to a test volume move by up to "
            f"{difference.max():.2g}, from {before.tolist()}"
        )
    return float(difference.max())


def _not_the_same(problem: str) -> InputError:
    return InputError(
        "export",
        f"what was written does not answer as its source does: {problem}",
        "nothing was kept; export with --dtype float32 or without --merge-lora",
        code="export-differs",
    )


def _scores(
    model: MedBlipForConditionalGeneration, processor: MedBlipProcessor
) -> NDArray[np.float32]:
    """Log-probability of each answer for a volume of noise without a record."""
    device, size = model.query_tokens.device, model.config.volume_size
    noise = torch.rand((1, 1, size, size, size), generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([processor.prompts.prompt("", QUESTION).ids], device=device)
    scores = score_answers(
        model,
        [processor.prompts.answer(ANSWERS[label]) for label in LABELS],
        ids,
        torch.ones_like(ids),
        pixel_values=noise.to(device),
    )
    array: NDArray[np.float32] = scores.float().cpu().numpy()[0]
    return array


__all__ = ["Exported", "export", "find_checkpoint"]
