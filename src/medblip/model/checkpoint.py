"""Checkpoints: the learned weights alone by default, the frozen bases by name and hash.

A folder written by ``save_pretrained`` holds ``config.json`` (which names each frozen base, its
revision and the hash of its weights), ``model.safetensors`` (what was learned) and ``adapter/``
(LoRA in PEFT's own format). Loading reassembles the model and verifies the bases. Towers without
a recorded base, such as randomly initialised ones in tests, are saved in ``model.safetensors``.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from torch import Tensor

from medblip.errors import InputError, UsageError
from medblip.model.bases import load_language, load_vision, resolve_base, verify_base
from medblip.model.weight_files import (
    check_fit,
    copy_strictly,
    load_whole,
    read_tensors,
    safetensors_files,
    save_tensors,
)
from medblip.storage import sha256_of_file

WEIGHTS = "model.safetensors"
ADAPTER = "adapter"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SAVED_WITH = "saved_with_sha256"  # in the adapter's header: hash of the model.safetensors beside it
PEFT_PREFIX = "base_model.model."  # what PEFT puts before the names of the model it wraps
_TOWERS = {"vision_model.": "vision_base", "language_model.": "language_base"}
# What the Auto classes hand on; none of it changes what is loaded here.
_FROM_AUTO = {"_from_auto", "adapter_kwargs", "trust_remote_code", "use_safetensors"}


class CheckpointMixin:
    """``save_pretrained`` and ``from_pretrained`` of :class:`MedBlipForConditionalGeneration`."""

    config: Any

    def learned_state(self) -> dict[str, Tensor]:
        """What ``model.safetensors`` holds: everything but the towers whose base is recorded."""
        based = tuple(tower for tower, base in _TOWERS.items() if getattr(self.config, base))
        state: dict[str, Tensor] = self.state_dict()  # type: ignore[attr-defined]
        return {name: tensor for name, tensor in state.items() if not name.startswith(based)}

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, full: bool = False, **kwargs: Any
    ) -> None:
        """Write the checkpoint folder.

        Args:
            save_directory: created if absent.
            full: write every weight, so that the folder needs no base.
            kwargs: for transformers, where the folder is a full one.
        """
        folder = Path(save_directory)
        if full or not (self.config.vision_base or self.config.language_base):
            self._save_full(folder, **kwargs)
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(folder)
        save_tensors(self.learned_state(), folder / WEIGHTS)
        if self.config.lora is not None and self.config.language_base:
            self._save_adapter(folder)

    def _save_full(self, folder: Path, **kwargs: Any) -> None:
        kept = self.config
        self.config = copy.deepcopy(kept)
        self.config.vision_base = self.config.language_base = None
        kwargs.pop("state_dict", None)
        try:
            super().save_pretrained(folder, **kwargs)  # type: ignore[misc]
        finally:
            self.config = kept

    def _save_adapter(self, folder: Path) -> None:
        language_model = self.language_model  # type: ignore[attr-defined]
        settings: LoraConfig = copy.deepcopy(language_model.peft_config["default"])
        settings.base_model_name_or_path = self.config.language_base["source"]
        settings.inference_mode = True
        settings.save_pretrained(str(folder / ADAPTER))
        save_tensors(
            self._adapter_state(),
            folder / ADAPTER / ADAPTER_WEIGHTS,
            **{SAVED_WITH: sha256_of_file(folder / WEIGHTS)},
        )

    def _adapter_state(self) -> dict[str, Tensor]:
        state = get_peft_model_state_dict(self.language_model)  # type: ignore[attr-defined]
        return {PEFT_PREFIX + name: tensor for name, tensor in state.items()}

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: Any | None = None,
        bases: dict[str, str] | None = None,
        dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a checkpoint folder, reassembled round its verified bases.

        Args:
            pretrained_model_name_or_path: folder written by :meth:`save_pretrained`, or a hub id.
            config: taken from the folder if None.
            bases: folders or hub ids to use for ``vision`` or ``language`` instead of the
                recorded sources; their weights must have the recorded hash all the same.
            dtype: of the frozen towers; the learned weights are float32. Of a full checkpoint:
                of everything.
            kwargs: ``revision`` of a hub id and ``attn_implementation``; for a full checkpoint
                every option of transformers.

        Raises:
            InputError: a file is missing or damaged, weights are missing, unexpected or not
                finite, or a base differs from the one trained on.
            UsageError: an option that a checkpoint on bases does not have.
        """
        folder = _checkpoint_folder(pretrained_model_name_or_path, kwargs.pop("revision", None))
        config = config or _read_config(cls, folder)
        if not (config.vision_base or config.language_base):
            return cls._load_full(folder, config, dtype=dtype, **kwargs)
        attention = kwargs.pop("attn_implementation", config._attn_implementation)
        _refuse_unknown(kwargs.keys() - _FROM_AUTO)
        towers = {
            role: _load_tower(role, getattr(config, f"{role}_base"), bases or {}, dtype)
            for role in ("vision", "language")
            if getattr(config, f"{role}_base")
        }
        model: Any = cls(config, towers.get("vision"), towers.get("language"))  # type: ignore[call-arg]
        model.load_learned(folder)
        if attention is not None:
            model.set_attn_implementation(attention)
        loaded: Self = model.eval()
        return loaded

    @classmethod
    def _load_full(cls, folder: Path, config: Any, **kwargs: Any) -> Self:
        kwargs.pop("output_loading_info", None)
        for file in safetensors_files(folder):
            read_tensors(file)
        load = super().from_pretrained  # type: ignore[misc]
        model: Self = load_whole(load, folder, config=config, **kwargs)
        return model

    def load_learned(self, folder: Path) -> None:
        """Load ``model.safetensors`` and the adapter of ``folder`` into this model, strictly."""
        copy_strictly(read_tensors(folder / WEIGHTS), self.learned_state(), WEIGHTS)
        if self.config.lora is not None and self.config.language_base:
            self._load_adapter(folder)

    def _load_adapter(self, folder: Path) -> None:
        file, name = folder / ADAPTER / ADAPTER_WEIGHTS, f"{ADAPTER}/{ADAPTER_WEIGHTS}"
        found = read_tensors(file)
        check_fit(found, self._adapter_state(), name)
        with safe_open(file, framework="pt") as opened:
            saved_with = (opened.metadata() or {}).get(SAVED_WITH)
        if saved_with != sha256_of_file(folder / WEIGHTS):
            raise InputError(
                name,
                f"was not saved together with the {WEIGHTS} beside it",
                "copy the whole checkpoint folder, adapter and all, from one place",
                code="other-adapter",
            )
        set_peft_model_state_dict(
            self.language_model,  # type: ignore[attr-defined]
            {key.removeprefix(PEFT_PREFIX): tensor for key, tensor in found.items()},
        )


def _load_tower(
    role: str, base: dict[str, Any], overrides: dict[str, str], dtype: torch.dtype | None
) -> Any:
    source = overrides.get(role, base["source"])
    folder = resolve_base(source, base.get("revision") if role not in overrides else None)
    verify_base(base, folder, role)
    return (load_vision if role == "vision" else load_language)(folder, dtype)


def _checkpoint_folder(source: str | os.PathLike[str], revision: str | None) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        folder = resolve_base(str(source), revision)
    if not (folder / "config.json").is_file():
        raise InputError(
            folder.name,
            "holds no config.json, so it is not a checkpoint",
            "name the folder that `save_pretrained` or `medblip train` wrote",
            code="no-config",
        )
    return folder


def _read_config(model_class: Any, folder: Path) -> Any:
    """The configuration; transformers would take any other model's with a mere warning."""
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != model_class.config_class.model_type:
            raise ValueError(f"model_type is {kind!r}, expected 'medblip'")
        return model_class.config_class.from_pretrained(folder)
    except (ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise InputError(
            f"{folder.name}/config.json",
            f"is not a MedBLIP configuration ({error})",
            "name the folder that `save_pretrained` or `medblip train` wrote",
            code="bad-config",
        ) from error


def _refuse_unknown(options: set[str]) -> None:
    if options:
        raise UsageError(
            "from_pretrained",
            f"{sorted(options)} do not apply to a checkpoint on recorded bases",
            "load it without, or save a full one with save_pretrained(..., full=True)",
            code="unknown-option",
        )


__all__ = ["CheckpointMixin"]
