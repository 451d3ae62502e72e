"""Where a model on recorded bases is put, and how its language model is stored.

Full checkpoints are transformers' own affair; a model on bases is assembled from three sources,
so that ``device_map`` can only be followed once it is whole, and ``quantization_config`` concerns
the language model alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import dispatch_model, infer_auto_device_map
from accelerate.utils import get_balanced_memory
from transformers import PreTrainedModel

from medblip.errors import UsageError

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
DeviceMap = str | int | torch.device | dict[str, Any] | None
Loader = Callable[..., PreTrainedModel]


@dataclass(frozen=True)
class Placement:
    """Options of ``from_pretrained`` about devices and storage; see transformers for each.

    Attributes:
        device_map: one device; a device for each module; or one of :data:`STRATEGIES`.
        max_memory: bytes or sizes such as ``10GiB`` by device, for the strategies.
        offload_folder: for what ``device_map`` puts on ``disk``.
        offload_buffers: offload buffers as well.
        quantization_config: of the language model, e.g. ``BitsAndBytesConfig``. What is learned,
            the LoRA matrices and the vision tower are never quantised.
    """

    device_map: DeviceMap = None
    max_memory: dict[Any, Any] | None = None
    offload_folder: str | None = None
    offload_buffers: bool = False
    quantization_config: Any = None

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Placement:
        """Take these options out of ``options``."""
        return cls(**{name: options.pop(name) for name in cls.__match_args__ if name in options})

    def load(self, role: str, loader: Loader, folder: Path, dtype: Any) -> PreTrainedModel:
        """A tower, quantised if it is the language model and that was asked for.

        Raises:
            UsageError: the quantisation needs a package that is not installed.
        """
        if role != "language" or self.quantization_config is None:
            return loader(folder, dtype)
        options = {"quantization_config": self.quantization_config, "device_map": self.device_map}
        try:
            return loader(folder, dtype, **options)
        except ImportError as error:
            raise UsageError(
                "quantization_config",
                f"{type(self.quantization_config).__name__}: {error}",
                "install what quantises: pip install 'medblip[quant]'",
                code="missing-extra",
            ) from error

    def apply(self, model: Any) -> None:
        """Put a whole model where it was asked to be, in place."""
        if self.quantization_config is not None:
            _follow(model, model.language_model)  # which was put there when it was loaded
        elif isinstance(self.device_map, dict) or self.device_map in STRATEGIES:
            self._dispatch(model)
        elif self.device_map is not None:
            model.to(self.device_map)

    def _dispatch(self, model: Any) -> None:
        device_map = self.device_map
        if not isinstance(device_map, dict):
            device_map = self._inferred(model)
        if self.offload_folder and Path(self.offload_folder, "index.json").exists():
            # accelerate would take those for this model's, whichever they are
            raise UsageError(
                f"offload_folder {Path(self.offload_folder).name}",
                "already holds offloaded weights",
                "name an empty folder",
                code="offload-folder-used",
            )
        dispatch_model(
            model,
            device_map,
            offload_dir=self.offload_folder,
            offload_buffers=self.offload_buffers,
            skip_keys=sorted(model._skip_keys_device_placement),
        )

    def _inferred(self, model: Any) -> dict[str, Any]:
        whole = {"no_split_module_classes": sorted(model._no_split_modules)}
        memory = self.max_memory
        if self.device_map != "sequential":
            low = self.device_map == "balanced_low_0"
            memory = get_balanced_memory(model, max_memory=memory, low_zero=low, **whole)
        inferred: dict[str, Any] = infer_auto_device_map(model, max_memory=memory, **whole)
        return inferred


def _follow(model: Any, placed: PreTrainedModel) -> None:
    """Put all but ``placed`` on its device."""
    for child in model.children():
        if child is not placed:
            child.to(placed.device)
    for name, parameter in list(model.named_parameters(recurse=False)):
        moved = torch.nn.Parameter(parameter.to(placed.device), parameter.requires_grad)
        setattr(model, name, moved)


__all__ = ["Placement"]
