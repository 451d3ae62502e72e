"""Trainer whose checkpoints are whole or absent, and that says what stopped it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer

from medblip.training.checkpoints import whole_checkpoint
from medblip.training.failures import require_finite_gradient
from medblip.training.out_of_memory import shapes_of

BYTES = 4  # of what is learned, and of each state of it: float32


class SafeTrainer(Trainer):
    """Trainer that writes a checkpoint beside and then moves it into place.

    No state of a random generator is written or needed: each step's numbers come from its number.
    So a checkpoint can be loaded by another number of processes.

    Attributes:
        kept: more states that checkpoints hold.
        shapes: of the last batch, by the model's names.
    """

    kept: Any = ()
    optimizer: Any
    shapes: dict[str, tuple[int, ...]] = {}  # noqa: RUF012 - replaced, never changed
    _written_into: Path | None = None

    @property
    def steps_done(self) -> int:
        """Optimizer steps so far."""
        done: int = self.state.global_step
        return done

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._written_into or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir))
        try:
            with whole_checkpoint(folder, self.steps_done, self._estimate()) as self._written_into:
                super()._save_checkpoint(model, trial)
        finally:
            self._written_into = None

    def _estimate(self) -> int:
        """Bytes of a checkpoint: weights, AdamW's two moments, and what else is kept of each."""
        model: Any = self.model
        learned = (p.numel() for p in model.parameters() if p.requires_grad)
        return BYTES * (3 + len(self.kept)) * sum(learned)

    def _save_rng_state(self, output_dir: str) -> None:
        """There is none."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """There is none."""

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.shapes = shapes_of(inputs)
        prepared: dict[str, Any] = super()._prepare_inputs(inputs)
        return prepared

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # FSDP2's is sharded
        require_finite_gradient(float(whole), self.steps_done + 1)
        return norm
