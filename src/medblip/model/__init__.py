"""The model as transformers knows it: importing this registers Auto classes and pipeline."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from medblip.model.configuration_medblip import MedBlipConfig, MedQFormerConfig
from medblip.model.image_processing_medblip import MedBlipImageProcessor
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration, MedBlipOutput
from medblip.model.pipeline_medblip import MedBlipPipeline
from medblip.model.pipeline_medblip import register as register_pipeline
from medblip.model.processing_medblip import MedBlipProcessor

AutoConfig.register("medblip", MedBlipConfig, exist_ok=True)
AutoConfig.register("medblip_qformer", MedQFormerConfig, exist_ok=True)
AutoModelForImageTextToText.register(MedBlipConfig, MedBlipForConditionalGeneration, exist_ok=True)
AutoImageProcessor.register(
    MedBlipConfig, image_processor_classes={"pil": MedBlipImageProcessor}, exist_ok=True
)
AutoProcessor.register(MedBlipConfig, MedBlipProcessor, exist_ok=True)
register_pipeline()

__all__ = [
    "MedBlipConfig",
    "MedBlipForConditionalGeneration",
    "MedBlipImageProcessor",
    "MedBlipOutput",
    "MedBlipPipeline",
    "MedBlipProcessor",
    "MedQFormerConfig",
]
