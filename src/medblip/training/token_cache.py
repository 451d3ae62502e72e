"""The vision encoder's output per volume; a frozen encoder's is kept on disk and memory-mapped.

What is kept is valid only while patch embedding and vision encoder stay as they are: the key holds
the hash of their weights, so a changed encoder never meets old tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch.utils.data import get_worker_info
from tqdm import tqdm

from medblip.errors import InputError
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.storage import replacing
from medblip.training.agreement import largest, place, wait
from medblip.training.interrupts import stop_if_asked
from medblip.training.pixels import to_pixels
from medblip.training.precision import autocast
from medblip.volumes import map_cube_array

TOKENS = "tokens"
VERSION = 1


def encoder_key(model: MedBlipForConditionalGeneration, precision: str) -> str:
    """Hash of all that the tokens of a volume depend on besides its cube."""
    digest = hashlib.sha256(f"{VERSION} {precision} {model.config.skip_background}".encode())
    state = {
        **{f"p.{k}": v for k, v in model.patch_embedding.state_dict().items()},
        **{f"v.{k}": v for k, v in model.vision_model.state_dict().items()},
    }
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class LiveTokens:
    """Tokens of volumes under the encoder as it is now; it may be in training.

    Args:
        model: gives patch embedding and vision encoder.
        cubes: the volume cache's folder.
        precision: ``float32`` or ``bfloat16`` for the encoder's arithmetic.
    """

    def __init__(
        self, model: MedBlipForConditionalGeneration, cubes: Path, precision: str = "float32"
    ) -> None:
        self.model = model
        self.cubes = cubes
        self.precision = precision

    def __getstate__(self) -> dict[str, Any]:
        # A loader's worker process reads what is on disk, and has no use for the model.
        return {**self.__dict__, "model": None}

    def tokens(self, name: str) -> NDArray[np.float32]:
        """``(tokens, width)`` of one cube, CLS first."""
        return self.encode(map_cube_array(self.cubes / name)).astype(np.float32)

    @property
    def blank(self) -> NDArray[np.float32]:
        """Tokens of a volume that is background throughout."""
        return self.encode(self.blank_cube).astype(np.float32)

    @cached_property
    def blank_cube(self) -> NDArray[np.uint8]:
        return np.zeros((self.model.config.volume_size,) * 3, np.uint8)

    @torch.no_grad()  # not inference mode: a sharded tower keeps what it gathered in it
    def encode(self, cube: NDArray[np.uint8]) -> NDArray[np.float16]:
        """``(D, H, W)`` uint8 -> ``(tokens, width)`` float16, without padding."""
        device = self.model.query_tokens.device
        pixels = to_pixels([cube]).to(device)
        with autocast(device, self.precision):
            tokens, _ = self.model.encode_image(pixels)
        encoded: NDArray[np.float16] = tokens[0].half().cpu().numpy()
        return encoded


class TokenCache(LiveTokens):
    """Tokens of volumes under one encoder that stays as it is, kept on disk.

    Args:
        model, cubes, precision: see :class:`LiveTokens`.
        folder: where token caches live; each encoder has a sub-folder.
    """

    def __init__(
        self,
        model: MedBlipForConditionalGeneration,
        cubes: Path,
        folder: Path,
        precision: str = "float32",
    ) -> None:
        super().__init__(model, cubes, precision)
        self.folder = folder / encoder_key(model, precision)
        self.folder.mkdir(parents=True, exist_ok=True)

    def fill(self, names: Iterable[str], *, progress: bool = True) -> int:
        """Encode every cube of ``names`` that has no tokens yet.

        Several processes share the work, and go on when all are done. One cube at a time: many
        at once are no faster on a processor, and a cube's tokens would depend in their last bits
        on its neighbours. A process with fewer cubes encodes blank ones while it waits: where the
        encoder is split among the processes, all must run it.

        Returns:
            How many this process encoded.
        """
        rank, processes = place()
        own = list(dict.fromkeys(names))[rank::processes]
        todo = [name for name in own if not self._whole(name)]
        most = largest(len(todo))
        shown = progress and rank == 0 and bool(todo)
        for name in tqdm(todo, desc="Encoding volumes", unit="volume", disable=not shown):
            self._encode_cube(name)
            stop_if_asked("the encoded volumes are kept", alone=True)
        for _ in range(most - len(todo)):
            self.encode(self.blank_cube)
        wait()
        return len(todo)

    def tokens(self, name: str) -> NDArray[np.float32]:
        """``(tokens, width)`` of one cube, CLS first; encoded now if a file is damaged.

        Raises:
            InputError: ``corrupt-tokens`` in a loader's worker process, which has no model.
        """
        try:
            with safe_open(self.folder / name, framework="numpy") as file:
                return np.asarray(file.get_tensor(TOKENS), dtype=np.float32)
        except (SafetensorError, OSError) as error:
            if get_worker_info() is not None:
                raise InputError(
                    name,
                    f"the cached image tokens cannot be read: {error}",
                    "start again: they are then made anew",
                    code="corrupt-tokens",
                ) from error
            self._encode_cube(name)
            return self.tokens(name)

    @cached_property
    def blank(self) -> NDArray[np.float32]:
        """Tokens of a volume that is background throughout; encoded once."""
        return super().blank

    def _whole(self, name: str) -> bool:
        try:
            with safe_open(self.folder / name, framework="numpy") as file:
                return TOKENS in file.keys()  # noqa: SIM118 - safe_open is not a dict
        except (SafetensorError, OSError):
            return False

    def _encode_cube(self, name: str) -> None:
        tokens = self.encode(map_cube_array(self.cubes / name))
        with replacing(self.folder / name) as temporary:
            save_file({TOKENS: tokens}, temporary)
