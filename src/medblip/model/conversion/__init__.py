"""Published weights into the formats of this project: ``medblip convert``."""

from medblip.model.conversion.blip2 import convert_blip2
from medblip.model.conversion.eva import convert_eva
from medblip.model.conversion.qformer_init import QFormerInit, load_qformer_init
from medblip.model.conversion.reference import convert_reference
from medblip.model.conversion.report import Conversion

__all__ = [
    "Conversion",
    "QFormerInit",
    "convert_blip2",
    "convert_eva",
    "convert_reference",
    "load_qformer_init",
]
