"""A share of a tower's layers recomputed: the same gradients, and less kept on the way."""

from __future__ import annotations

import pytest
import torch
from tiny import LANGUAGES, build, gradients, relative_difference, training_batch
from torch import Tensor

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.recompute import recompute_share


def kept_bytes(model: MedBlipForConditionalGeneration, batch: dict[str, Tensor]) -> int:
    """Bytes of activations that a forward pass keeps for backward."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**batch)
    return sum(storages.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_gradients_stay_and_less_is_kept(language: str) -> None:
    model = build(language).train()
    for module in model.qformer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    batch = training_batch(model)
    expected = gradients(lambda: model(**batch).loss, model)
    kept = [kept_bytes(model, batch)]
    for share in (0.5, 1.0):
        assert recompute_share(model.language_model, share) > 0
        found = gradients(lambda: model(**batch).loss, model)
        assert found.keys() == expected.keys()
        largest = max(float(g.abs().max()) for g in expected.values())
        for name, gradient in found.items():
            assert float((gradient - expected[name]).abs().max()) < 1e-6 * largest, name
        kept.append(kept_bytes(model, batch))
    assert kept[0] > kept[1] > kept[2]
    assert recompute_share(model.language_model, 0.0) == 0
    assert relative_difference(model(**batch).loss, model(**batch).loss) == 0
    assert kept_bytes(model, batch) == kept[0]


def test_no_more_than_all_layers() -> None:
    with pytest.raises(ValueError, match=r"share is 1\.5; expected 0 to 1"):
        recompute_share(build().language_model, 1.5)
