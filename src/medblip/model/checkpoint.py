"""Checkpoints: the learned weights alone by default, the frozen bases by name and hash.

A folder written by ``save_pretrained`` holds ``config.json`` (which names each frozen base, its
revision and the hash of its weights), ``bases.json`` (their hashes tensor by tensor),
``model.safetensors`` or its shards (what was learned) and ``adapter/`` (LoRA in PEFT's own format).
Loading reassembles the model and verifies the bases. Towers without a recorded base, such as a
language model with LoRA merged into it, are saved in ``model.safetensors``.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from medblip.errors import InputError, UsageError
from medblip.model.base_identity import (
    BaseIdentity,
    complete_identities,
    verify_base,
    verify_settings,
    weights_sha256,
    write_identities,
)
from medblip.model.bases import load_language, load_vision, resolve_base
from medblip.model.config_file import read_config
from medblip.model.placement import Placement
from medblip.model.weight_files import (
    MAX_SHARD_SIZE,
    WEIGHTS,
    check_fit,
    copy_strictly,
    load_whole,
    opened,
    read_tensors,
    read_weights,
    safetensors_files,
    save_tensors,
    save_weights,
)
from medblip.storage import sha256_of_file

ADAPTER = "adapter"
_FIX = "name the folder that `save_pretrained` or `medblip train` wrote"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# In the adapter's header: hash of the model.safetensors beside it, and of the base it belongs to.
SAVED_WITH = "saved_with_sha256"
SAVED_ON = "base_sha256"
PEFT_PREFIX = "base_model.model."  # what PEFT puts before the names of the model it wraps
_TOWERS = {"vision_model.": "vision_base", "language_model.": "language_base"}
_SETTINGS = {"vision": "vision_config", "language": "text_config"}
LOADERS: dict[str, Callable[..., Any]] = {"vision": load_vision, "language": load_language}
# What the Auto classes hand on; none of it changes what is loaded here.
_FROM_AUTO = {
    "_from_auto",
    "_from_pipeline",
    "adapter_kwargs",
    "trust_remote_code",
    "use_safetensors",
}
_HUB = ("cache_dir", "force_download", "local_files_only", "token")


class CheckpointMixin:
    """``save_pretrained`` and ``from_pretrained`` of :class:`MedBlipForConditionalGeneration`.

    Attributes:
        base_identities: of the frozen bases by role (``vision``, ``language``); those of a model
            that was put together by hand are read when it is saved for the first time.
    """

    config: Any
    generation_config: Any
    base_identities: Mapping[str, BaseIdentity] = MappingProxyType({})

    def learned_state(self) -> dict[str, Tensor]:
        """What ``model.safetensors`` holds: everything but the towers whose base is recorded."""
        based = tuple(tower for tower, base in _TOWERS.items() if getattr(self.config, base))
        state: dict[str, Tensor] = self.state_dict()  # type: ignore[attr-defined]
        return {name: tensor for name, tensor in state.items() if not name.startswith(based)}

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        full: bool = False,
        max_shard_size: int | str = MAX_SHARD_SIZE,
        **kwargs: Any,
    ) -> None:
        """Write the checkpoint folder.

        Args:
            save_directory: created if absent.
            full: write every weight, so that the folder needs no base.
            max_shard_size: bytes, or a text such as ``5GB``; weights beyond it are written in
                shards with an index, as transformers does. The adapter is one file always.
            kwargs: for transformers, where the folder is a full one.
        """
        folder = Path(save_directory)
        if full or not (self.config.vision_base or self.config.language_base):
            self._save_full(folder, max_shard_size=max_shard_size, **kwargs)
            return
        self.refuse_after_peft(folder.name)  # type: ignore[attr-defined]
        if kwargs.get("push_to_hub"):
            fix = "call push_to_hub(...) of the model and of its processor"
            raise UsageError("push_to_hub", "is no option of this format", fix)
        folder.mkdir(parents=True, exist_ok=True)
        config = self._published_config()
        config.architectures = [type(self).__name__]
        config.save_pretrained(folder)
        self.generation_config.to_json_file(folder / GENERATION_CONFIG_NAME)
        save_weights(self.learned_state(), folder, max_shard_size)
        recorded = {role: getattr(self.config, f"{role}_base") for role in LOADERS}
        self.base_identities = complete_identities(self.base_identities, recorded)
        write_identities(folder, self.base_identities)
        if self.config.lora is not None and self.config.language_base:
            self._save_adapter(folder)

    def _published_config(self) -> Any:
        """The configuration without the way to the towers on this machine."""
        config = copy.deepcopy(self.config)
        for name in _SETTINGS.values():
            getattr(config, name)._name_or_path = ""
        return config

    def _save_full(self, folder: Path, **kwargs: Any) -> None:
        if getattr(self.language_model, "is_quantized", False):  # type: ignore[attr-defined]
            raise UsageError(
                folder.name,
                "the language model is quantised, which a full checkpoint cannot hold",
                "load it without quantization_config first, or save what was learned alone",
                code="quantised",
            )
        kept = self.config
        self.config = self._published_config()
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
            **{
                SAVED_WITH: _learned_sha256(folder),
                SAVED_ON: self.config.language_base["sha256"],
            },
        )

    def _adapter_state(self) -> dict[str, Tensor]:
        state = get_peft_model_state_dict(self.language_model)  # type: ignore[attr-defined]
        return {PEFT_PREFIX + name: tensor for name, tensor in state.items()}

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *,
        config: Any | None = None,
        bases: dict[str, str] | None = None,
        dtype: torch.dtype | str | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load a checkpoint folder, reassembled round its verified bases.

        Args:
            pretrained_model_name_or_path: folder written by :meth:`save_pretrained`, or a hub id;
                None to take the weights from ``state_dict``, as in transformers.
            config: taken from the folder if None.
            bases: folders or hub ids to use for ``vision`` or ``language`` instead of the
                recorded sources; their weights must have the recorded hash all the same.
            dtype: of the frozen towers instead of the recorded one (which ``auto`` is); the learned
                weights are float32. Of a full checkpoint: of everything but LoRA.
            output_loading_info: give ``(model, info)`` as in transformers; what its lists would
                hold is an error here.
            kwargs: where it comes from (``revision``, ``cache_dir``, ``token`` ...), the attention
                (``attn_implementation``), and where it is put (``device_map``,
                ``quantization_config`` ...: :class:`medblip.model.placement.Placement`). For a
                full checkpoint every option of transformers but ``quantization_config``.

        Raises:
            InputError: a file is missing or damaged, weights are missing, unexpected or not
                finite, or a base differs from the one trained on.
            UsageError: an option that a checkpoint on bases does not have.
        """
        older = kwargs.pop("torch_dtype", None)  # the name of dtype in transformers 4
        dtype = older if dtype is None else dtype
        if pretrained_model_name_or_path is None:
            kwargs |= {"config": config, "dtype": dtype, "output_loading_info": output_loading_info}
            return super().from_pretrained(None, **kwargs)  # type: ignore[misc]
        hub = {name: kwargs.pop(name) for name in _HUB if name in kwargs}
        revision = kwargs.pop("revision", None)
        folder = _checkpoint_folder(pretrained_model_name_or_path, revision, **hub)
        own: Any = cls  # a PreTrainedModel by its other parent
        config = config or read_config(folder, own.config_class, _FIX)
        if config.vision_base or config.language_base:
            model = cls._load_on_bases(folder, config, bases or {}, dtype, **kwargs)
        else:
            model = cls._load_full(folder, config, dtype=dtype, bases=bases, **kwargs)
        result: Any = (model, _nothing_amiss()) if output_loading_info else model
        loaded: Self = result
        return loaded

    @classmethod
    def _load_on_bases(
        cls,
        folder: Path,
        config: Any,
        bases: dict[str, str],
        dtype: torch.dtype | str | None,
        **kwargs: Any,
    ) -> Self:
        attention = kwargs.pop("attn_implementation", config._attn_implementation)
        placement = Placement.taken_from(kwargs)
        if placement.quantization_config is not None and not config.language_base:
            raise _not_quantised("its language model is part of it")
        _refuse_unknown(kwargs.keys() - _FROM_AUTO)
        if dtype in (None, "auto"):
            dtype = getattr(torch, config.base_dtype)
        recorded = {r: base for r in LOADERS if (base := getattr(config, f"{r}_base"))}
        folders = {r: _base_folder(base, bases.get(r)) for r, base in recorded.items()}
        found = {r: verify_base(base, folders[r], r, folder) for r, base in recorded.items()}
        towers = {r: placement.load(r, LOADERS[r], path, dtype) for r, path in folders.items()}
        for role, tower in towers.items():
            verify_settings(getattr(config, _SETTINGS[role]), tower.config, role, folders[role])
        model: Any = cls(config, towers.get("vision"), towers.get("language"))  # type: ignore[call-arg]
        model.base_identities = {r: identity for r, identity in found.items() if identity}
        model.load_learned(folder)
        if attention is not None:
            model.set_attn_implementation(attention)
        if (folder / GENERATION_CONFIG_NAME).is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
        placement.apply(model)
        loaded: Self = model.eval()
        return loaded

    @classmethod
    def _load_full(cls, folder: Path, config: Any, **kwargs: Any) -> Self:
        if kwargs.pop("bases", None):
            raise UsageError("bases", f"{folder.name} holds every weight and has no bases")
        if kwargs.get("quantization_config") is not None:
            raise _not_quantised("it holds what is learned beside the language model")
        load = super().from_pretrained  # type: ignore[misc]
        model: Self = load_whole(load, folder, config=config, **kwargs)
        return model

    def load_learned(self, folder: Path) -> None:
        """Load the learned weights and the adapter of ``folder`` into this model, strictly."""
        copy_strictly(read_weights(folder), self.learned_state(), f"{folder.name}/{WEIGHTS}")
        if self.config.lora is not None and self.config.language_base:
            self._load_adapter(folder)

    def _load_adapter(self, folder: Path) -> None:
        file, name = folder / ADAPTER / ADAPTER_WEIGHTS, f"{ADAPTER}/{ADAPTER_WEIGHTS}"
        found = read_tensors(file)
        check_fit(found, self._adapter_state(), name)
        with opened(file) as weights:
            saved = weights.metadata() or {}
        base = self.config.language_base["sha256"]
        if saved.get(SAVED_ON, base) != base:
            raise _other_adapter(
                name,
                f"was trained on a language model with the hash {saved[SAVED_ON][:12]}, "
                f"config.json names one with {base[:12]}",
            )
        if saved.get(SAVED_WITH) != _learned_sha256(folder):
            raise _other_adapter(name, f"was not saved together with the {WEIGHTS} beside it")
        set_peft_model_state_dict(
            self.language_model,  # type: ignore[attr-defined]
            {key.removeprefix(PEFT_PREFIX): tensor for key, tensor in found.items()},
        )


def _base_folder(base: Mapping[str, Any], instead: str | None) -> Path:
    if instead is not None:
        return resolve_base(instead, verify=False)
    return resolve_base(base["source"], base.get("revision"), verify=False)  # hashed next


def _learned_sha256(folder: Path) -> str:
    """Hash of the file with the learned weights; of all shards where there are some."""
    files = safetensors_files(folder)
    return sha256_of_file(files[0]) if len(files) == 1 else weights_sha256(folder)


def _other_adapter(name: str, problem: str) -> InputError:
    fix = "copy the whole checkpoint folder, adapter and all, from one place"
    return InputError(name, problem, fix, code="other-adapter")


def _checkpoint_folder(source: str | os.PathLike[str], revision: str | None, **hub: Any) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        folder = resolve_base(str(source), revision, **hub)
    if not (folder / "config.json").is_file():
        raise InputError(
            folder.name,
            "holds no config.json, so it is not a checkpoint",
            _FIX,
            code="no-config",
        )
    return folder


def _nothing_amiss() -> dict[str, set[str]]:
    """transformers' report on a loading that had nothing to report; anything else was an error."""
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    return {kind: set() for kind in kinds}


def _not_quantised(reason: str) -> UsageError:
    return UsageError(
        "quantization_config",
        f"does not apply to this checkpoint: {reason}",
        "quantise the language model of a checkpoint that records it as a base",
        code="unknown-option",
    )


def _refuse_unknown(options: set[str]) -> None:
    if options:
        raise UsageError(
            "from_pretrained",
            f"{sorted(options)} do not apply to a checkpoint on recorded bases",
            "load it without, or save a full one with save_pretrained(..., full=True)",
            code="unknown-option",
        )


__all__ = ["CheckpointMixin"]
