"""The processor and its image half: saved, loaded, taken apart, and what they are called with."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import END, QUERIES, head_scan, tokenizer, vocabulary
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.feature_extraction_utils import BatchFeature

from medblip.errors import InputError, UsageError
from medblip.model import MedBlipImageProcessor, MedBlipProcessor

SIZE = 16
ASKED = {"volumes": [head_scan()], "records": ["aged 71"], "questions": ["Which?"]}
SETTINGS = {
    "image_token_id": len(vocabulary()),
    "num_query_tokens": QUERIES,
    "prompt_order": "question_image_text",
    "encoder_decoder": True,
    "max_length": 80,
}


def processor(**changed: Any) -> MedBlipProcessor:
    return MedBlipProcessor(
        MedBlipImageProcessor({"size": SIZE}), tokenizer(), **SETTINGS | changed
    )


def assert_same(found: MedBlipProcessor, expected: MedBlipProcessor) -> None:
    assert {n: getattr(found, n) for n in SETTINGS} == {n: getattr(expected, n) for n in SETTINGS}
    mine, theirs = found(**ASKED), expected(**ASKED)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_it_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    made = processor()
    made.save_pretrained(tmp_path)
    for load in (MedBlipProcessor, AutoProcessor):
        assert_same(load.from_pretrained(tmp_path), made)
    written = json.loads((tmp_path / "processor_config.json").read_text())
    assert written.items() >= SETTINGS.items()
    assert written["processor_class"] == "MedBlipProcessor"


def test_its_json_says_all_of_it() -> None:
    written = json.loads(processor().to_json_string())
    assert written.items() >= SETTINGS.items()
    assert written["image_processor"]["preprocessing"] == {"size": SIZE}


def test_it_is_the_sum_of_its_saved_halves(tmp_path: Path) -> None:
    made = processor()
    made.save_pretrained(tmp_path)
    halves = AutoImageProcessor.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(halves[0], MedBlipImageProcessor)
    assert_same(MedBlipProcessor(*halves, **SETTINGS), made)


def test_loading_can_change_a_setting(tmp_path: Path) -> None:
    processor().save_pretrained(tmp_path)
    changed = MedBlipProcessor.from_pretrained(tmp_path, max_length=40)
    assert (changed.max_length, changed.num_query_tokens) == (40, QUERIES)


def test_it_gives_what_it_says_it_gives() -> None:
    made = processor()
    given = made(**ASKED)
    assert isinstance(given, BatchFeature)
    assert set(given) == set(made.model_input_names)


def test_its_halves_alone_give_the_same() -> None:
    made = processor()
    given = made(**ASKED)
    alone = made.image_processor(ASKED["volumes"])
    assert torch.equal(given.pixel_values, alone.pixel_values)
    text = made.tokenizer("Which?", add_special_tokens=False).input_ids
    assert "".join(map(str, text)) in "".join(map(str, given.input_ids[0].tolist()))


@pytest.mark.parametrize(("kind", "of"), [("np", np.ndarray), ("pt", torch.Tensor), (None, list)])
def test_it_gives_the_kind_of_arrays_asked_for(kind: str | None, of: type) -> None:
    given = processor()(**ASKED, return_tensors=kind)
    if kind is None:  # as transformers, no tensors where none are asked for
        assert isinstance(given["input_ids"], torch.Tensor)
    else:
        assert isinstance(given["input_ids"], of)
        assert isinstance(given["pixel_values"], of)


def test_an_argument_that_is_not_known_is_an_error() -> None:
    for unknown in ({"images": head_scan()}, {"text": "Which?"}, {"max_length": 4}):
        with pytest.raises(TypeError, match=next(iter(unknown))):
            processor()(**ASKED, **unknown)


def test_prompts_are_padded_on_the_left_as_generation_needs(tmp_path: Path) -> None:
    made = processor()
    made.save_pretrained(tmp_path)
    for one in (made, AutoProcessor.from_pretrained(tmp_path)):
        assert one.tokenizer.padding_side == "left"
        given = one(records=["a long record", "b"], questions="Which?")
        assert given.attention_mask[1, 0] == 0
        assert given.attention_mask[:, -1].all()


def test_a_tokenizer_that_cannot_end_is_refused() -> None:
    with pytest.raises(UsageError, match="neither a padding nor an end") as caught:
        MedBlipProcessor(
            MedBlipImageProcessor({"size": SIZE}), tokenizer(pad_token=None, eos_token=None)
        )
    assert caught.value.code == "no-end-token"


def test_decoding_is_the_tokenizers() -> None:
    made = processor()
    ids = [[9, 30, 77, END], [12, 40, END, END]]
    texts = made.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert made.batch_decode(ids) == [text.strip() for text in texts]
    assert made.decode(ids[0], skip_special_tokens=True) == texts[0]


def test_a_number_of_placeholders_is_what_a_call_puts_in() -> None:
    given = processor()(**ASKED)
    assert int((given.input_ids == SETTINGS["image_token_id"]).sum()) == QUERIES


# --------------------------------------------------------------------------- the image half
def test_the_image_half_is_saved_and_loaded(tmp_path: Path) -> None:
    made = MedBlipImageProcessor({"size": SIZE})
    made.save_pretrained(tmp_path)
    made.to_json_file(tmp_path / "again.json")
    forms = [
        MedBlipImageProcessor.from_pretrained(tmp_path),
        AutoImageProcessor.from_pretrained(tmp_path),
        MedBlipImageProcessor.from_json_file(tmp_path / "again.json"),
        MedBlipImageProcessor.from_dict(made.to_dict()),
        MedBlipImageProcessor.from_dict(json.loads(made.to_json_string())),
    ]
    for again in forms:
        assert again.preprocessing == {"size": SIZE}
        assert again.to_dict() == made.to_dict()
        assert torch.equal(again(head_scan()).pixel_values, made(head_scan()).pixel_values)


def test_the_image_half_needs_no_argument() -> None:
    assert MedBlipImageProcessor().size > 0


def test_one_image_halfs_settings_are_not_anothers() -> None:
    shared = {"size": SIZE}
    first, second = MedBlipImageProcessor(shared), MedBlipImageProcessor(shared)
    first.preprocessing["size"] = 24
    assert second.size == shared["size"] == SIZE


def pair() -> tuple[Any, Any]:
    scan = head_scan()
    return scan.array, scan.affine


PAIRS: dict[str, Any] = {
    "numpy": pair(),
    "torch": tuple(torch.from_numpy(np.array(x)) for x in pair()),
    "half": (torch.from_numpy(pair()[0]).bfloat16().float(), pair()[1]),
    "whole numbers": (np.round(pair()[0]).astype(np.int16), pair()[1].tolist()),
    "one volume in 4D": (pair()[0][..., None], pair()[1]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_an_array_with_its_affine_is_a_volume(name: str) -> None:
    image_processor = MedBlipImageProcessor({"size": SIZE})
    array, affine = (np.asarray(x, dtype=np.float32) for x in PAIRS[name])
    image = nib.Nifti1Image(array, affine.astype(np.float64))
    expected = image_processor(image).pixel_values
    assert torch.equal(image_processor(PAIRS[name]).pixel_values, expected)
    both = processor()(volumes=[PAIRS[name], PAIRS[name]], records="aged 71")
    assert torch.equal(both.pixel_values, expected.expand(2, -1, -1, -1, -1))
    assert len(processor()(volumes=PAIRS[name]).pixel_values) == 1


def test_bfloat16_is_read_too() -> None:
    image_processor = MedBlipImageProcessor({"size": SIZE})
    array, affine = pair()
    half = torch.from_numpy(array).bfloat16()
    expected = image_processor((half.float(), affine)).pixel_values
    assert torch.equal(image_processor((half, affine)).pixel_values, expected)


def broken() -> dict[str, tuple[Any, str]]:
    array, affine = pair()
    flat, infinite = affine.copy(), affine.copy()
    flat[2] = 0
    infinite[0, 3] = np.inf
    empty = array.copy()
    empty[:5] = np.nan
    return {
        "no affine": (array, "bad-volume"),
        "affine of another shape": ((array, affine[:3]), "bad-volume"),
        "flat affine": ((array, flat), "bad-affine"),
        "infinite affine": ((array, infinite), "bad-affine"),
        "two volumes": ((np.stack([array, array], -1), affine), "bad-volume"),
        "complex": ((array.astype(np.complex64), affine), "bad-volume"),
        "text": ((np.full((4, 4, 4), "x"), affine), "bad-volume"),
        "slab": ((array[:3], affine), "too-few-slices"),
        "NaN": ((empty, affine), "nonfinite-voxels"),
    }


@pytest.mark.parametrize("name", broken())
def test_an_array_that_is_no_scan_is_refused(name: str) -> None:
    given, code = broken()[name]
    with pytest.raises(InputError) as caught:
        MedBlipImageProcessor({"size": SIZE})([given])
    assert caught.value.code == code
    assert caught.value.fix


# --------------------------------------------------------------------------- form
def test_settings_have_one_default_each() -> None:
    """Neither a setting of the processor nor an argument of a call is also a class attribute."""
    for method in (MedBlipProcessor.__init__, MedBlipProcessor.__call__):
        names = set(inspect.signature(method).parameters) - {"self"}
        assert not [name for name in names if hasattr(MedBlipProcessor, name)]
    made = processor()
    called = set(inspect.signature(MedBlipProcessor.__call__).parameters) - {"self"}
    assert not [name for name in called if hasattr(made, name)]


def test_inputs_can_be_cast_and_moved() -> None:
    given = processor()(**ASKED).to("cpu", torch.bfloat16)
    assert given.pixel_values.dtype == torch.bfloat16
    assert given.input_ids.dtype == given.attention_mask.dtype == torch.int64
