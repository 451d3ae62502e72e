"""A quantiser for transformers that runs anywhere: weights become multiples of a sixteenth."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

METHOD = "sixteenths"


@register_quantization_config(METHOD)
class SixteenthsConfig(QuantizationConfigMixin):
    def __init__(self, quant_method: str = METHOD) -> None:
        self.quant_method = quant_method


@register_quantizer(METHOD)
class SixteenthsQuantizer(HfQuantizer):
    """Rounds every linear map of the model it is given, once its weights are loaded."""

    requires_calibration = False

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return True

    def _process_model_after_weight_loading(self, model: nn.Module, **_: Any) -> nn.Module:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = (module.weight.data * 16).round() / 16
        return model


def is_rounded(module: nn.Linear) -> bool:
    sixteenths = module.weight.detach() * 16
    return bool((sixteenths == sixteenths.round()).all())
