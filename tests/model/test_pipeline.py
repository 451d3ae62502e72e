"""``transformers.pipeline`` from a saved folder: a scan on disk in, an answer with notice out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from tiny import based_model, build, head_scan, tokenizer
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, pipeline
from transformers.pipelines import PIPELINE_REGISTRY

import medblip
from medblip.errors import InputError, UsageError
from medblip.model import (
    MedBlipForConditionalGeneration,
    MedBlipImageProcessor,
    MedBlipPipeline,
    MedBlipProcessor,
)
from medblip.model.pipeline_medblip import TASK
from medblip.notice import RESEARCH_USE
from medblip.study.labels import QUESTION
from medblip.volumes import Preprocessing, preprocess, read_volume

LANGUAGES = ("llama", "gpt2", "t5")
SIZE = 16
SHORT = {"max_new_tokens": 5}
# For what does not depend on the language model.
one_language = pytest.mark.parametrize("folder", ["llama"], indirect=True)


def processor_of(model: MedBlipForConditionalGeneration, **special: Any) -> MedBlipProcessor:
    return MedBlipProcessor.for_model(
        model.config, MedBlipImageProcessor({"size": SIZE}), tokenizer(**special), max_length=80
    )


@pytest.fixture(scope="module", params=LANGUAGES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint on bases with its processor; GPT-2's tokenizer has no padding token."""
    root = tmp_path_factory.mktemp(request.param)
    model = based_model(root / "bases", request.param)
    special = {"pad_token": None} if request.param == "gpt2" else {}
    model.save_pretrained(root / "model")
    processor_of(model, **special).save_pretrained(root / "model")
    return root / "model"


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    return pipeline(TASK, model=str(folder))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "head.nii.gz"
    nib.save(as_nifti(0), path)
    return path


def as_nifti(seed: int) -> nib.Nifti1Image:
    return nib.Nifti1Image(head_scan(seed).array, head_scan(seed).affine)


def by_hand(folder: Path, scan: Any, record: str, question: str, **options: Any) -> str:
    """The answer as one would get it from model and processor."""
    model = MedBlipForConditionalGeneration.from_pretrained(folder)
    processor = MedBlipProcessor.from_pretrained(folder)
    asked = processor(volumes=[scan], records=[record], questions=[question])
    generated = model.generate(**asked, pad_token_id=processor.tokenizer.pad_token_id, **options)
    return processor.batch_decode(generated)[0]


def test_a_scan_on_disk_becomes_an_answer(pipe: Any, folder: Path, scan: Path) -> None:
    assert isinstance(pipe, MedBlipPipeline)
    answer = pipe(str(scan), record="aged 71", question="Which?", **SHORT)
    assert answer["answer"] == by_hand(folder, scan, "aged 71", "Which?", **SHORT)
    assert answer["question"] == "Which?"
    assert answer["notice"] == RESEARCH_USE
    assert [f["code"] for f in answer["findings"]] == ["no-gate"]


def test_every_form_of_a_scan_gives_the_same_answer(pipe: Any, scan: Path) -> None:
    volume = read_volume(scan)
    forms = {
        "path": scan,
        "name": str(scan),
        "image": nib.load(scan),
        "volume": volume,
        "cube": preprocess(volume, Preprocessing(size=SIZE)),
        "pair": (volume.array, volume.affine),
    }
    answers = {name: pipe(form, record="aged 71", **SHORT) for name, form in forms.items()}
    assert {answer["answer"] for answer in answers.values()} == {answers["path"]["answer"]}
    assert answers["path"]["question"] == QUESTION  # the paper's, by default


def asked(count: int = 5) -> list[dict[str, Any]]:
    """Scans with records of several lengths; one has no scan, one no record."""
    rows = [
        {"volume": as_nifti(i), "record": "aged 7" + "1" * i, "question": f"Which {i}?"}
        for i in range(5)
    ]
    del rows[1]["volume"], rows[3]["record"]
    return rows[:count]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_many_are_answered_as_one_by_one(pipe: Any, batch_size: int) -> None:
    expected = [pipe(row, **SHORT) for row in asked()]
    assert pipe(asked(), batch_size=batch_size, **SHORT) == expected
    assert len({answer["answer"] for answer in expected}) > 1


def test_lists_in_line_and_one_for_all(pipe: Any) -> None:
    scans, records = [as_nifti(0), as_nifti(1)], ["aged 71", "aged 80"]
    expected = [
        pipe(s, record=r, question="Which?", **SHORT) for s, r in zip(scans, records, strict=True)
    ]
    assert pipe(scans, record=records, question="Which?", batch_size=2, **SHORT) == expected
    shared = pipe(scans, record="aged 71", **SHORT)
    assert shared == [pipe(s, record="aged 71", **SHORT) for s in scans]
    assert pipe([], record="aged 71") == []
    alone = pipe(record=records, **SHORT)
    assert alone == [pipe(record=r, **SHORT) for r in records]


class Scans(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> nib.Nifti1Image:
        if index > 2:
            raise IndexError
        return as_nifti(index)


def test_generators_and_datasets_are_answered_as_they_come(pipe: Any) -> None:
    expected = pipe([as_nifti(i) for i in range(3)], record="aged 71", **SHORT)
    drawn = []

    def scans() -> Iterator[Any]:
        for i in range(3):
            drawn.append(i)
            yield as_nifti(i)

    answers = pipe(scans(), record="aged 71", **SHORT)
    assert next(iter(answers)) == expected[0]
    assert len(drawn) < 3  # nobody has waited for the last
    for batch_size in (1, 2):
        for many in (scans(), Scans(), iter(asked(2))):
            found = list(pipe(many, record="aged 71", batch_size=batch_size, **SHORT))
            assert len(found) in (2, 3)
            if len(found) == 3:
                assert found == expected


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_options_of_generate_are_passed_on(pipe: Any, folder: Path, as_dictionary: bool) -> None:
    options = {"max_new_tokens": 3, "num_beams": 3, "num_return_sequences": 2}
    given = {"generate_kwargs": options} if as_dictionary else options
    found = pipe(asked(2), batch_size=2, **given)
    assert [len(answers) for answers in found] == [2, 2]
    for one, answers in zip(asked(2), found, strict=True):
        assert pipe(one, **given) == answers
        assert {a["notice"] for a in answers} == {RESEARCH_USE}
    stored = pipe(as_nifti(0), **SHORT, return_dict_in_generate=True, output_scores=True)
    assert stored == pipe(as_nifti(0), **SHORT)


@one_language
def test_options_given_at_the_start_hold_for_every_call(folder: Path) -> None:
    always = pipeline(TASK, model=str(folder), max_new_tokens=2, batch_size=2)
    once = pipeline(TASK, model=str(folder))
    assert always(asked()) == once(asked(), max_new_tokens=2)


@one_language
def test_what_was_noticed_is_told(pipe: Any) -> None:
    wide = as_nifti(0)
    wide.get_fdata()[:1, :1, :1] = np.nan
    answer = pipe(wide, record="a</s>b\u202e " + "word " * 60, question="Which?", **SHORT)
    codes = [finding["code"] for finding in answer["findings"]]
    assert codes[-1] == "no-gate"
    assert {"control-characters", "special-token", "record-cut"} <= set(codes)
    assert all(finding["problem"] for finding in answer["findings"])


REFUSED: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "bare array": (lambda p: p(head_scan().array), InputError, "4x4 affine"),
    "missing file": (lambda p: p("nowhere.nii.gz"), InputError, "nowhere"),
    "empty question": (lambda p: p(head_scan(), question=" "), InputError, "empty"),
    "nothing": (lambda p: p(), UsageError, "no volume, record or question"),
    "nothing in a row": (lambda p: p([{}]), UsageError, "no volume, record or question"),
    "unequal lists": (lambda p: p([head_scan()] * 3, record=["a"] * 2), UsageError, "2 for 3"),
    "misspelled argument": (lambda p: p(head_scan(), recrod="a"), TypeError, "recrod"),
    "misspelled option": (lambda p: p(head_scan(), max_new_token=1), TypeError, "max_new_token"),
    "misspelled key": (lambda p: p({"volum": head_scan()}), TypeError, "volum"),
    "inside a dictionary": (
        lambda p: p(head_scan(), generate_kwargs={"beams": 2}),
        ValueError,
        "beams",
    ),
}


@one_language
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_asked_is_refused(pipe: Any, name: str) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call(pipe)


@one_language
def test_it_is_saved_and_loaded_whole(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    again = pipeline(TASK, model=str(tmp_path))
    assert again(asked(2), **SHORT) == pipe(asked(2), **SHORT)


@one_language
@pytest.mark.parametrize("options", [{"device_map": "auto"}, {"dtype": "bfloat16"}])
def test_it_is_loaded_with_options(folder: Path, options: dict[str, Any]) -> None:
    loaded = pipeline(TASK, model=str(folder), **options)
    if "dtype" in options:
        assert loaded.model.language_model.dtype == torch.bfloat16
    assert isinstance(loaded(as_nifti(0), **SHORT)["answer"], str)


def test_a_full_checkpoint_and_a_model_in_hand_serve_too(tmp_path: Path) -> None:
    model = build()
    processor = processor_of(model)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    expected = MedBlipPipeline(model=model, processor=processor)(as_nifti(0), **SHORT)
    assert pipeline(TASK, model=str(tmp_path))(as_nifti(0), **SHORT) == expected
    assert pipeline(TASK, model=model, processor=processor)(as_nifti(0), **SHORT) == expected


def test_another_model_is_refused() -> None:
    other = GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9))
    with pytest.raises(UsageError, match="'gpt2' with NoneType"):
        MedBlipPipeline(model=other)


def test_the_task_is_known_once_the_package_is_imported() -> None:
    assert TASK in PIPELINE_REGISTRY.get_supported_tasks()
    assert medblip.MedBlipPipeline is MedBlipPipeline
