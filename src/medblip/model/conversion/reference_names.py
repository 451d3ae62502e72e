"""Names in a state dict of the paper's reference repository -> names in ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from medblip.model.conversion.eva_names import block_names

VISION = "vision_model."
_EMBEDDINGS = "Qformer.bert.embeddings."
POSITIONS = f"{_EMBEDDINGS}position_embeddings.weight"
_PLAIN = {
    "visual_encoder.cls_token": "patch_embedding.cls_token",
    "visual_encoder.pos_embed_3d": "patch_embedding.positions",
    "visual_encoder.patch_embed_3d.proj.weight": "patch_embedding.projection.weight",
    "visual_encoder.patch_embed_3d.proj.bias": "patch_embedding.projection.bias",
    "ln_vision.weight": f"{VISION}post_layernorm.weight",
    "ln_vision.bias": f"{VISION}post_layernorm.bias",
    "query_tokens": "query_tokens",
    "vision_proj.weight": "image_contrast.weight",
    "vision_proj.bias": "image_contrast.bias",
    "text_proj.weight": "text_contrast.weight",
    "text_proj.bias": "text_contrast.bias",
    "temp": "temperature",
}


@dataclass(frozen=True)
class Variant:
    """One of the repository's two models.

    Attributes:
        language: prefix of the language model's weights.
        projection: name of the map from the queries into the language model.
        encoder_decoder: kind of the language model.
    """

    language: str
    projection: str
    encoder_decoder: bool


VARIANTS = (Variant("t5_model.", "t5_proj", True), Variant("lm_model.", "proj", False))

LEFT_OUT = {
    r"qa_proj\.(weight|bias)": "one contrastive projection serves both kinds of text",
    r"Qformer\.bert\.embeddings\.word_embeddings\.weight": "texts enter by the language model's "
    "own embeddings",
    r"Qformer\.bert\.embeddings\.position_ids": "counted, not learned",
    r"Qformer\.bert\.encoder\.layer\.\d+\.(intermediate|output)\..+": "the feed-forward network "
    "of the text stream; here that of the query stream serves both",
    r"Qformer\.cls\..+": "BERT's head, unused",
    r"(t5_model|lm_model)\..+": "the frozen language model; compared with --language",
}


def find_variant(names: Iterable[str]) -> Variant | None:
    """Which model the names are of, told by its projection; None for neither."""
    found = set(names)
    for variant in VARIANTS:
        if f"{variant.projection}.weight" in found:
            return variant
    return None


def reference_names(
    found: Collection[str], variant: Variant, layers: int, qformer: Iterable[str]
) -> dict[str, str]:
    """Reference's name -> ours.

    Args:
        found: the state dict's names; decides on the text positions, which not all have.
        variant: which of the two models.
        layers: blocks of the vision tower.
        qformer: names of our :class:`MedQFormer`'s weights.
    """
    names = dict(_PLAIN)
    for kind in ("weight", "bias"):
        names[f"{variant.projection}.{kind}"] = f"prefix_map.{kind}"
    for theirs, ours in block_names(layers).items():
        names[f"visual_encoder.{theirs}"] = VISION + ours
    for name in qformer:
        names[_bert_name(name)] = f"qformer.{name}"
    if POSITIONS in found:
        names[POSITIONS] = "text_positions.weight"
    return names


def _bert_name(ours: str) -> str:
    if ours.startswith("layernorm."):
        return _EMBEDDINGS + ours.replace("layernorm.", "LayerNorm.")
    return "Qformer.bert." + ours.replace("attention.attention.", "attention.self.")
