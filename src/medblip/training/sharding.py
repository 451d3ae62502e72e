"""Frozen towers split among the processes (FSDP2), where one device cannot hold them.

Each layer's weights are gathered just before it runs and dropped after. What is learned stays
whole on every process and goes through DDP: it is small beside the towers, its checkpoints are
then the same for any number of processes, and a layer's frozen bfloat16 and learned float32 never
meet in one group.

accelerate's own FSDP2 is not used: it shards the root, whose scalars (temperature, prefix scale)
``fully_shard`` refuses, and whose parts are also called one by one, outside ``forward``.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel

from medblip.model.modeling_medblip import MedBlipForConditionalGeneration

WISH = "ACCELERATE_USE_FSDP"  # what `accelerate launch` sets where its configuration says FSDP


def sharding_is_wanted() -> bool:
    """Whether accelerate's configuration asks for FSDP; from then on accelerate sees plain DDP."""
    wanted = os.environ.pop(WISH, "false").lower() in ("1", "true")
    return wanted and dist.is_initialized()


def everywhere(device: torch.device) -> DeviceMesh:
    """All processes of the run; every process must call it."""
    return init_device_mesh(device.type, (dist.get_world_size(),))


def shard_towers(model: MedBlipForConditionalGeneration, mesh: DeviceMesh, *, vision: bool) -> None:
    """Split the frozen towers' layers among the processes of ``mesh``.

    The model may lie on the CPU: layer after layer moves to the mesh's device, and only a share of
    it stays there. Embeddings and output maps stay whole.

    Args:
        vision: the vision tower too; only where volumes pass through it in every step, since all
            processes must call a sharded tower alike.
    """
    towers = [model.language_model, *([model.vision_model] if vision else [])]
    for layer in (layer for tower in towers for layer in _layers(tower)):
        learned = {p for name, p in layer.named_parameters() if "lora_" in name}
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=learned)


def _layers(tower: PreTrainedModel) -> list[nn.Module]:
    names = set(tower._no_split_modules or ())
    return [module for module in tower.modules() if type(module).__name__ in names]
