"""MedBLIP: a language model that reads a 3D brain scan together with the patient's record.

>>> import medblip
>>> medblip.ask.__name__
'ask'
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Imported on first use: `import medblip` must not wait for torch.
_PLACES = {
    "Answer": "medblip.evaluation.answering",
    "MedBlipConfig": "medblip.model",
    "MedBlipForConditionalGeneration": "medblip.model",
    "MedBlipImageProcessor": "medblip.model",
    "MedBlipPipeline": "medblip.model",
    "MedBlipProcessor": "medblip.model",
    "Volume": "medblip.volumes",
    "ask": "medblip.evaluation.answering",
    "read_volume": "medblip.volumes",
}

__all__ = ["__version__", *_PLACES]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'medblip' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
