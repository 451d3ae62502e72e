"""The model card: valid for the hub, true to what was measured, silent about people."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard
from typer.main import get_command

from medblip.cli import app
from medblip.errors import InputError
from medblip.evaluation.metrics import classification_metrics, paired_difference
from medblip.model.base_licences import LICENCES, licence_of
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.recipe import Recipe, load_recipe, shipped_recipes
from medblip.study.labels import LABELS
from medblip.study.study import Study
from medblip.training.card import render_card, write_card
from medblip.training.card_facts import CardFacts, ResultFacts, facts_of_training, split_facts
from model.tiny import based_model
from study.study_maker import make_sessions, write_study

ENVIRONMENT = {"medblip": "0.1.0", "torch": "2.13", "device": "cpu", "precision": "float32"}
KEPT = {"stage": "tune", "step": 8, "validation_log_loss": 0.91234}
# Licence keys of the hub that this project uses; the hub refuses a card with another.
HUB_LICENCES = {"apache-2.0", "mit", "bigscience-bloom-rail-1.0", "gemma", "other"}


def recipe(**model: Any) -> Recipe:
    stage = {"steps": 4, "batch_size": 2}
    bases = {"vision": "Salesforce/blip2-itm-vit-g", "language": "stanford-crfm/BioMedLM"}
    return Recipe.model_validate(
        {
            "name": "paper/biomedlm-lora",
            "model": {**bases, "language_revision": "abc123", **model},
            "align": {**stage, "language": 0},
            "tune": stage,
        }
    )


def study(folder: Path, cohort: str = "SIM-A", zero_shot: str = "SIM-Z") -> Study:
    parts = [make_sessions(30, cohort, visits=2), make_sessions(9, zero_shot, seed=1)]
    sessions = pd.concat(parts, ignore_index=True)
    return Study.load(write_study(folder, sessions, zero_shot=[zero_shot]))


def results() -> dict[str, Any]:
    """As ``evaluate`` writes them, measured on invented answers."""
    labels, subjects = np.arange(60) % 3, np.array([f"SIM-A-{i:04d}" for i in range(60)])

    def measured(seed: int) -> tuple[np.ndarray, Any]:
        logits = np.random.default_rng(seed).normal(size=(60, 3)) + 1.5 * np.eye(3)[labels]
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return shares.argmax(1) == labels, classification_metrics(
            labels, shares, subjects, LABELS, n_resamples=50
        )

    full = measured(0)

    def entry(title: str, seed: int) -> dict[str, Any]:
        right, metrics = measured(seed)
        against = paired_difference(right, full[0], subjects, n_resamples=50)
        return {
            "title": title,
            "metrics": metrics.as_dict(),
            "accuracy_minus_full": against.difference.as_dict(),
            "p": against.p,
        }

    return {
        "created": "2026-01-02",
        "temperature": 1.25,
        "conditions": {"full": entry("Image and record", 0), "record": entry("Record only", 1)},
        "simple_models": {"majority": entry("Majority class", 2)},
        "zero_shot": measured(3)[1].as_dict(),
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("card")
    based_model(root / "bases").save_pretrained(root / "model")
    return root / "model"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> CardFacts:
    made = study(tmp_path_factory.mktemp("study"))
    trained = facts_of_training(recipe(), made, ENVIRONMENT, KEPT)
    return trained.model_copy(update={"results": ResultFacts.of(results())})


def front_matter(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return loaded


def tables(text: str) -> list[list[Sequence[str]]]:
    """Rows of cells of each Markdown table; an escaped bar separates nothing."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()] for block in blocks]


# --------------------------------------------------------------------------- the hub's view
def test_the_front_matter_is_the_hubs(checkpoint: Path, facts: CardFacts) -> None:
    card = ModelCard.load(write_card(checkpoint, facts))
    data = card.data.to_dict()
    assert data["library_name"] == "medblip"
    assert data["pipeline_tag"] == "image-text-to-text"
    assert data["language"] == "en"
    assert data["base_model"] == ["Salesforce/blip2-itm-vit-g", "stanford-crfm/BioMedLM"]
    assert data["license"] == "other"  # MIT and RAIL together are neither
    assert data["license_link"] == "README.md"
    assert {"research-only", "simulated-data", "lora"} <= set(data["tags"])


def test_the_model_index_holds_what_was_measured(checkpoint: Path, facts: CardFacts) -> None:
    card = ModelCard(render_card(checkpoint, facts))
    found = {(r.dataset_split, r.metric_type): r for r in card.data.eval_results}
    assert len(found) == 2 * 4
    assert card.data.model_name == "medblip-paper-biomedlm-lora"
    measured = results()
    full = measured["conditions"]["full"]["metrics"]
    hub_names = {"accuracy": "accuracy", "macro_auc": "roc_auc", "macro_f1": "f1"}
    for split, metrics in {"test": full, "zero_shot": measured["zero_shot"]}.items():
        for ours, theirs in hub_names.items():
            result = found[split, theirs]
            assert result.metric_value == round(metrics[ours]["value"], 4)
            assert result.metric_args["low"] == round(metrics[ours]["low"], 4)
            assert result.metric_args["high"] == round(metrics[ours]["high"], 4)
            assert result.metric_args["confidence"] == 0.95
    assert found["test", "accuracy"].dataset_name == "SIM-A"
    assert found["zero_shot", "accuracy"].dataset_name == "SIM-Z"


def test_a_measure_that_is_not_defined_is_left_out(checkpoint: Path, facts: CardFacts) -> None:
    assert facts.results is not None
    undefined = {"value": None, "low": None, "high": None}
    changed = results()
    changed["zero_shot"]["macro_auc"] = undefined
    text = render_card(checkpoint, facts.model_copy(update={"results": ResultFacts.of(changed)}))
    kinds = [(r.dataset_split, r.metric_type) for r in ModelCard(text).data.eval_results]
    assert ("zero_shot", "roc_auc") not in kinds
    assert ("zero_shot", "accuracy") in kinds
    assert not re.search(r"\bnan\b", text.casefold())


# --------------------------------------------------------------------------- the reader's view
def test_the_card_says_what_it_must(checkpoint: Path, facts: CardFacts) -> None:
    text = render_card(checkpoint, facts)
    for said in (RESEARCH_USE, SIMULATED_DATA, "Intended:", "Out of scope:", "## Limits"):
        assert said in text
    for heading in ("Use", "Data", "Training", "Results", "Licences of the bases", "Citation"):
        assert f"\n## {heading}\n" in text
    assert "[stanford-crfm/BioMedLM](https://huggingface.co/stanford-crfm/BioMedLM)" in text
    assert "abc123" in text
    assert "BigScience BLOOM RAIL License 1.0" in text
    assert "frozen language model with LoRA of rank 8" in text
    assert "fetched from where `config.json` says" in " ".join(text.split())
    assert render_card(checkpoint, facts) == text


def test_every_table_is_one(checkpoint: Path, facts: CardFacts) -> None:
    found = tables(render_card(checkpoint, facts))
    assert len(found) == 3
    for table in found:
        assert len({len(row) for row in table}) == 1
        assert all(set(cell) <= set("-") for cell in table[1])
    data, training, measured = found
    assert [row[0].strip() for row in data[2:]] == [
        "training",
        "validation",
        "test",
        "test of cohorts never trained on",
    ]
    assert [row[0].strip() for row in training[2:]] == ["align", "tune"]
    titles = [row[0].strip() for row in measured[2:]]
    assert titles[:3] == ["Image and record", "Record only", "Majority class"]
    accuracy = results()["conditions"]["full"]["metrics"]["accuracy"]
    assert f"{100 * accuracy['value']:.1f} ({100 * accuracy['low']:.1f} to" in measured[2][2]


def test_counts_are_those_of_the_study(tmp_path: Path) -> None:
    made = study(tmp_path)
    for fact in split_facts(made):
        examples = [e for e in made.examples(fact.split) if e.cohort == fact.cohort]  # type: ignore[arg-type]
        assert fact.sessions == len(examples) == sum(fact.by_label.values())
        assert fact.subjects == len({e.participant_id for e in examples})
    assert sum(f.subjects for f in split_facts(made)) == 39


def test_code_on_the_card_runs_as_far_as_it_can(checkpoint: Path, facts: CardFacts) -> None:
    text = render_card(checkpoint, facts)
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    imports = [n for n in ast.parse(python).body if isinstance(n, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "card", "exec"), {})  # noqa: S102
    (shell,) = re.findall(r"```sh\nmedblip (.*?)\n```", text, re.DOTALL)
    name, *words = shell.split()
    get_command(app).commands[name].make_context(name, words)  # type: ignore[attr-defined]


def test_without_an_evaluation_it_says_so(checkpoint: Path, facts: CardFacts) -> None:
    text = render_card(checkpoint, facts.model_copy(update={"results": None}))
    assert "**Not evaluated.**" in text
    assert "model-index" not in front_matter(text)


def test_real_cohorts_are_not_called_simulated(checkpoint: Path, tmp_path: Path) -> None:
    made = facts_of_training(recipe(), study(tmp_path, "ADNI", "AIBL"), ENVIRONMENT, KEPT)
    text = render_card(checkpoint, made)
    assert "imulated" not in text
    assert "| training | ADNI |" in text


def test_a_full_folder_and_a_merged_one_are_told_apart(tmp_path: Path, facts: CardFacts) -> None:
    model = based_model(tmp_path / "bases")
    model.save_pretrained(tmp_path / "full", full=True)
    text = render_card(tmp_path / "full", facts.model_copy(update={"merged": True}))
    assert "every weight; nothing else is needed" in text
    assert "LoRA of rank 8 added into its own weights" in text
    count = sum(p.numel() for p in model.parameters())
    assert f"In this folder: {count:,} numbers" in text
    assert "lora" not in front_matter(text)["tags"]


def test_without_a_run_the_configuration_speaks(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "card.json").unlink(missing_ok=True)
    text = render_card(checkpoint, CardFacts.of_checkpoint(checkpoint))
    assert text.count("Not recorded with this checkpoint.") == 2
    assert "Vision: vision. Licence not known to us; look at the base's own page." in text


# --------------------------------------------------------------------------- what it must not say
def test_no_subject_and_no_machine_is_named(tmp_path: Path, checkpoint: Path) -> None:
    bases = {"vision": str(tmp_path / "my-vision"), "language": "./weights/my-language"}
    (tmp_path / "my-vision").mkdir()
    made = study(tmp_path / "study")
    trained = facts_of_training(
        recipe(**bases, qformer_init=str(tmp_path / "start")), made, ENVIRONMENT, KEPT
    )
    trained = trained.model_copy(update={"results": ResultFacts.of(results())})
    text = write_card(checkpoint, trained).read_text("utf-8")
    text += (checkpoint / "card.json").read_text("utf-8")
    subjects = set(made.sessions["participant_id"])
    assert len(subjects) == 39
    assert not [subject for subject in subjects if subject in text]
    assert str(tmp_path) not in text
    assert "weights/my-language" not in text
    for name in ("my-vision", "my-language", "start"):
        assert name in text
    assert "base_model" not in front_matter(text)  # a folder is no model of the hub


def test_a_relative_folder_is_no_hub_id(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights" / "biomedlm").mkdir(parents=True)
    made = facts_of_training(
        recipe(language="weights/biomedlm"), study(tmp_path / "study"), ENVIRONMENT, KEPT
    )
    assert made.bases[1].source == "biomedlm"
    named = front_matter(render_card(checkpoint, made))["base_model"]
    assert named == ["Salesforce/blip2-itm-vit-g"]


HOSTILE = "A|B <script>alert(1)</script> `x` [y](http://z)\n# head"


def test_names_from_outside_stay_text(checkpoint: Path, facts: CardFacts) -> None:
    data = [facts.data[0].model_copy(update={"cohort": HOSTILE}), *facts.data[1:]]
    assert facts.training is not None
    training = facts.training.model_copy(update={"recipe": HOSTILE})
    text = render_card(checkpoint, facts.model_copy(update={"data": data, "training": training}))
    body = text.split("---\n", 2)[2]
    assert "<script>" not in body
    assert "\n# head" not in body
    assert "[y](http" not in body
    assert all(len({len(row) for row in table}) == 1 for table in tables(body))
    assert ModelCard(text).data.pipeline_tag == "image-text-to-text"


# --------------------------------------------------------------------------- licences
@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("embedded:vision", "apache-2.0"),
        ("embedded:language", "apache-2.0"),
        ("Salesforce/blip2-opt-2.7b", "mit"),
        ("stanford-crfm/BioMedLM", "bigscience-bloom-rail-1.0"),
        ("microsoft/BioGPT-Large", "mit"),
        ("google/flan-t5-xl", "apache-2.0"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
        ("facebook/dinov2-large", "apache-2.0"),
        ("google/siglip-so400m-patch14-384", "apache-2.0"),
        ("Qwen/Qwen3-4B-Instruct-2507", "apache-2.0"),
        ("google/medgemma-4b-it", "other"),
    ],
)
def test_licences_of_known_bases(source: str, key: str) -> None:
    licence = licence_of(source)
    assert licence is not None
    assert licence.key == key


@pytest.mark.parametrize("source", ["somebody/biomedlm", "biomedlm", "google/gemma-2-2b", ""])
def test_other_bases_have_no_licence_that_we_know(source: str) -> None:
    assert licence_of(source) is None


def test_each_shipped_recipe_has_bases_whose_licence_is_known() -> None:
    for name in shipped_recipes():
        section = load_recipe(name).model
        for source in (section.vision, section.language):
            assert licence_of(source) is not None, f"{name}: {source}"


def test_licences_are_the_hubs_and_patterns_are_lower_case() -> None:
    assert {licence.key for licence in LICENCES.values()} <= HUB_LICENCES
    assert all(source == source.casefold() for source in LICENCES)
    assert all(licence.link.startswith("https://") for licence in LICENCES.values())


@pytest.mark.parametrize(
    ("bases", "licence"),
    [
        (("embedded:vision", "embedded:language"), "apache-2.0"),
        (("facebook/dinov2-large", "google/flan-t5-xl"), "apache-2.0"),
        (("Salesforce/blip2-itm-vit-g", "microsoft/BioGPT-Large"), "mit"),
        (("Salesforce/blip2-itm-vit-g", "google/flan-t5-xl"), "other"),
        (("google/medgemma-4b-it", "google/medgemma-4b-it"), "other"),
        (("somebody/vision", "somebody/language"), "other"),
    ],
)
def test_one_licence_stands_in_front_only_if_all_bases_share_it(
    checkpoint: Path, facts: CardFacts, bases: tuple[str, str], licence: str
) -> None:
    made = [
        fact.model_copy(update={"source": source})
        for fact, source in zip(facts.bases, bases, strict=True)
    ]
    data = front_matter(render_card(checkpoint, facts.model_copy(update={"bases": made})))
    assert data["license"] == licence
    assert ("license_name" in data) is (licence == "other")


# --------------------------------------------------------------------------- on disk
def test_facts_come_back_from_disk(checkpoint: Path, facts: CardFacts) -> None:
    write_card(checkpoint, facts)
    assert CardFacts.of_checkpoint(checkpoint) == facts


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 1}', '{"spare": 1}'])
def test_damaged_facts_are_an_error(tmp_path: Path, damage: str) -> None:
    (tmp_path / "card.json").write_text(damage)
    with pytest.raises(InputError, match=r"card\.json") as caught:
        CardFacts.of_checkpoint(tmp_path)
    assert caught.value.code == "bad-card"
