"""The processor: every form of one scan gives the same pixels; lists, errors, save and load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import END, PAD, QUERIES, build, head_scan, text_config, tokenizer, vocabulary

from medblip.errors import InputError, UsageError
from medblip.model import MedBlipImageProcessor, MedBlipProcessor
from medblip.study.labels import QUESTION
from medblip.volumes import Cube, Preprocessing, Volume, preprocess, read_volume

SIZE = 16
IMAGE = len(vocabulary())


def image_processor(size: int = SIZE) -> MedBlipImageProcessor:
    return MedBlipImageProcessor(preprocessing={"size": size})


def processor(**options: Any) -> MedBlipProcessor:
    settings = {"image_token_id": IMAGE, "num_query_tokens": QUERIES} | options
    return MedBlipProcessor(image_processor(), tokenizer(), **settings)


def as_nifti(scan: Volume) -> nib.Nifti1Image:
    return nib.Nifti1Image(scan.array, scan.affine)


def all_forms(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "head.nii.gz"
    nib.save(as_nifti(head_scan()), path)
    return {
        "path": path,
        "name": str(path),
        "volume": read_volume(path),
        "cube": preprocess(read_volume(path), Preprocessing(size=SIZE)),
        "loaded image": nib.load(path),
        "image in memory": as_nifti(head_scan()),
        "MGH image": nib.MGHImage(head_scan().array, head_scan().affine),
        "one volume in 4D": nib.Nifti1Image(head_scan().array[..., None], head_scan().affine),
        "flipped": as_nifti(head_scan()).as_reoriented(np.array([[0, -1], [2, 1], [1, 1]])),
    }


def test_every_form_of_a_scan_gives_the_same_pixels(tmp_path: Path) -> None:
    forms = all_forms(tmp_path)
    pixels = {name: image_processor()(form).pixel_values for name, form in forms.items()}
    expected = pixels["path"]
    assert expected.shape == (1, 1, SIZE, SIZE, SIZE)
    assert expected.dtype == torch.float32
    assert float(expected.min()) == 0.0
    assert 0.5 < float(expected.max()) <= 1.0
    for name, found in pixels.items():
        # The flipped one is interpolated along other axes: one step of 255 may be rounded away.
        tolerance = 1.01 / 255 if name == "flipped" else 0.0
        assert float((found - expected).abs().max()) <= tolerance, name
    batch = image_processor()(list(forms.values())[:4]).pixel_values
    assert torch.equal(batch, expected.expand(4, -1, -1, -1, -1))


def other_cube() -> Cube:
    return preprocess(head_scan(), Preprocessing(size=24))


def without_codes() -> nib.Nifti1Image:
    image = as_nifti(head_scan())
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    return image


def with_nan() -> nib.Nifti1Image:
    array = head_scan().array.copy()
    array[:5] = np.nan
    return nib.Nifti1Image(array, head_scan().affine)


ARRAY, AFFINE = head_scan().array, head_scan().affine
BAD: dict[str, tuple[Any, str]] = {
    "array": (ARRAY, "bad-volume"),
    "tensor": (torch.zeros(4, 4, 4), "bad-volume"),
    "4D image": (nib.Nifti1Image(np.stack([ARRAY, ARRAY], -1), AFFINE), "bad-volume"),
    "complex image": (nib.Nifti1Image(ARRAY.astype(np.complex64), AFFINE), "bad-volume"),
    "image without orientation": (without_codes(), "left-right-unknown"),
    "image with NaN": (with_nan(), "nonfinite-voxels"),
    "slab": (nib.Nifti1Image(ARRAY[:3], AFFINE), "too-few-slices"),
    "cube of another size": (other_cube(), "other-volume-size"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_usable_scan_is_refused(name: str) -> None:
    scan, code = BAD[name]
    with pytest.raises(InputError) as caught:
        image_processor()([head_scan(), scan])
    assert caught.value.code == code


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.nii"):
        processor()(volumes=str(tmp_path / "nowhere.nii"))


def test_one_call_makes_the_models_inputs() -> None:
    records, questions = ["aged 71", "a woman aged 68, MMSE 23"], ["Which?", "Is it dementia?"]
    made = processor()(volumes=[head_scan(0), head_scan(1)], records=records, questions=questions)
    prompts = processor().prompts
    rows = [prompts.prompt(r, q).ids for r, q in zip(records, questions, strict=True)]
    assert made.pixel_values.shape == (2, 1, SIZE, SIZE, SIZE)
    assert not torch.equal(made.pixel_values[0], made.pixel_values[1])
    for i, row in enumerate(rows):
        assert made.input_ids[i][made.attention_mask[i].bool()].tolist() == row
    assert made.input_ids.shape == (2, max(map(len, rows)))
    assert made.input_ids[0, 0] == PAD  # on the left
    assert made.input_ids.dtype == made.attention_mask.dtype == torch.int64


def test_the_papers_question_is_asked_by_default_and_records_may_be_left_out() -> None:
    made = processor()(volumes=head_scan())
    assert made.input_ids[0].tolist() == processor().prompts.prompt("", QUESTION).ids
    alone = processor()(records="aged 71")
    assert "pixel_values" not in alone
    expected = processor().prompts.prompt("aged 71", QUESTION, image=False).ids
    assert alone.input_ids[0].tolist() == expected


def test_one_question_serves_all_and_one_record_too() -> None:
    made = processor()(volumes=[head_scan(), head_scan(1)], records="aged 71", questions="Which?")
    expected = processor().prompts.prompt("aged 71", "Which?").ids
    assert made.input_ids.tolist() == [expected, expected]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "no volume, record or question"),
        ({"volumes": []}, "no volume, record or question"),
        ({"volumes": [1, 2, 3], "records": ["a", "b"]}, "records: 2 for 3 prompts"),
        ({"records": ["a"] * 3, "questions": ["b"] * 2}, "questions: 2 for 3 prompts"),
        ({"volumes": [1], "questions": ["a", "b"]}, "volumes: 1 for 2 prompts"),
    ],
)
def test_lists_that_do_not_match_are_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        processor()(**inputs)


@pytest.mark.parametrize("order", ["image_text_question", "question_image_text"])
def test_a_saved_processor_is_the_same(tmp_path: Path, order: str) -> None:
    made = processor(prompt_order=order, encoder_decoder=True, max_length=60)
    made.save_pretrained(tmp_path)
    again = MedBlipProcessor.from_pretrained(tmp_path)
    names = ("image_token_id", "num_query_tokens", "prompt_order", "encoder_decoder", "max_length")
    assert [getattr(again, n) for n in names] == [getattr(made, n) for n in names]
    assert again.image_processor.preprocessing == {"size": SIZE}
    asked = {"volumes": head_scan(), "records": "a long record " * 20, "questions": "Which?"}
    expected, found = made(**asked), again(**asked)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert made.prompts.answer("dementia") == again.prompts.answer("dementia")


def test_a_processor_fits_its_model() -> None:
    model = build(prompt_order="question_image_text")
    made = MedBlipProcessor.for_model(model.config, image_processor(), tokenizer())
    assert (made.image_token_id, made.num_query_tokens) == (IMAGE, QUERIES)
    assert made.prompt_order == "question_image_text"
    inputs = made(volumes=[head_scan()], records=["aged 71"], questions=["Which?"])
    generated = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert generated.shape[0] == 1


def test_a_tokenizer_without_padding_pads_with_its_end_token() -> None:
    tokens = tokenizer(pad_token=None)
    assert tokens.pad_token_id is None
    made = MedBlipProcessor(image_processor(), tokens, image_token_id=IMAGE, num_query_tokens=2)
    batch = made(records=["aged 71", "a"], questions="Which?")
    assert batch.input_ids[1, 0] == END
    assert batch.attention_mask[1, 0] == 0
    model = build()
    with torch.no_grad():
        together = model(**batch).logits[1, -1]
        alone = model(**made(records=["a"], questions="Which?")).logits[0, -1]
    assert torch.allclose(together, alone, atol=1e-4)


def test_decoding_leaves_special_tokens_and_spaces_out() -> None:
    ids = [*processor().prompts.answer("not demented"), PAD, PAD]
    assert processor().batch_decode([ids]) == ["not demented"]
    assert text_config().eos_token_id == END
