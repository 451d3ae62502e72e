"""A note that PEFT was put round the whole model: its frozen bases may have changed since."""

from __future__ import annotations

from typing import Any

from medblip.errors import UsageError


class PeftTraceMixin:
    """``peft_config``, where PEFT keeps its settings while it is round a model.

    ``peft.get_peft_model`` sets it and ``merge_and_unload`` deletes it, after adding adapters to
    weights that a checkpoint on recorded bases does not hold.
    """

    @property
    def peft_config(self) -> Any:
        if "_peft_config" not in self.__dict__:
            raise AttributeError("peft_config")
        return self.__dict__["_peft_config"]

    @peft_config.setter
    def peft_config(self, value: Any) -> None:
        self.__dict__["_peft_config"] = value
        self.__dict__["_met_peft"] = True

    @peft_config.deleter
    def peft_config(self) -> None:
        del self.__dict__["_peft_config"]

    def refuse_after_peft(self, where: str) -> None:
        """Raise UsageError if the weights of a recorded base may have changed."""
        if self.__dict__.get("_met_peft"):
            raise UsageError(
                where,
                "PEFT was put round the whole model, so that a frozen base may have changed; a "
                "checkpoint on recorded bases would lose that",
                "save every weight with save_pretrained(..., full=True), or an adapter that is not "
                "merged with PEFT's own save_pretrained",
                code="bases-may-differ",
            )


__all__ = ["PeftTraceMixin"]
