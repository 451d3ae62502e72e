"""The page and the Markdown table: complete, closed to the outside, and the same every time."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from medblip.evaluation.intervals import Interval
from medblip.experiments.aggregate import ResultCell, ResultTable, result_tables
from medblip.experiments.claim_verdicts import claim_verdicts
from medblip.experiments.page import ExperimentsPage, render_page, write_page
from medblip.experiments.records import RunRecord, answers_by_table
from medblip.experiments.simple_controls import CONTROL_TITLES
from medblip.experiments.table_text import against_text, cell_text, markdown_table, seeds_run


def records() -> list[RunRecord]:
    generator = np.random.default_rng(0)
    given = []
    shares = {"m.text_only": 0.4, "m.frozen": 0.6, "m.lora": 0.8, "control.voxels": 0.5}
    for row, share in shares.items():
        control = row.startswith("control.")
        for seed in range(1 if control else 3):
            right = generator.random(80) < share
            subjects = tuple(map(str, range(80)))
            given.append(
                RunRecord(
                    2,
                    row,
                    "ADNI-3x200",
                    seed,
                    "control" if control else "model",
                    subjects,
                    tuple(bool(r) for r in right),
                )
            )
    return given


def tables() -> list[ResultTable]:
    titles = {"m.lora": "Tiny <LoRA>", "control.voxels": "Coarse voxels"}
    return result_tables(records(), titles, {"m.lora": "biomedlm.lora"}, n_resamples=200)


def page() -> ExperimentsPage:
    claims = claim_verdicts(answers_by_table(records()), n_resamples=200)
    facts = {"device": "2 cores"}
    return ExperimentsPage(
        "Tables", "2026-01-01", ["medblip --version"], facts, True, tables(), claims, CONTROL_TITLES
    )


class Tags(HTMLParser):
    """Counts what opens and what closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_it_all_and_loads_nothing(tmp_path: Path) -> None:
    html = render_page(page())
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    for said in (
        "Table 2: Text only < frozen < LoRA: m",
        "Holds",
        "Not decided",
        "Not all that it compares was run.",
        "Tiny <LoRA>",
        "paper 78.7%",
        "in the place of the paper\N{RIGHT SINGLE QUOTATION MARK}s BioMedLM, LoRA",
        "Best control",
        "Logistic regression: coarse voxels",
        "mean over 3 seeds",
        "ADNI-3x20080 subjects",
        "Test sets of under 10 subjects have neither interval nor p",
        "medblip --version",
        "2 cores",
    ):
        assert said in tags.text, said
    assert "http://" not in html
    assert "src=" not in html
    assert render_page(page()) == html
    assert write_page(tmp_path / "experiments.html", page()).read_text("utf-8") == html


def test_markdown_has_a_cell_a_column() -> None:
    (table,) = tables()
    lines = markdown_table(table).split("Difference")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 2 + len(table.rows)
    (ours,) = [row for row in rows if row.startswith("| Tiny <LoRA> |")]
    assert ours.split("|")[2].strip().endswith("[78.7]")
    assert ours.split("|")[3].strip() == "[83.3]", "not run: the paper's number alone"
    below = markdown_table(table, CONTROL_TITLES).split("best control")[1]
    assert "| Tiny <LoRA> | +" in below
    assert "| Best control | Logistic regression: coarse voxels |" in below


def test_cells_in_words() -> None:
    assert cell_text(ResultCell(None, {}, 0, 0, None)) == "\N{EN DASH}"
    one = ResultCell(Interval(0.7333, 0.68, 0.781), {0: 0.7333}, 60, 60, 78.7)
    assert cell_text(one) == "73.3 (68.0 to 78.1) [78.7]"
    tiny = ResultCell(Interval(0.5, np.nan, np.nan), {}, 4, 30, 61.8)
    assert cell_text(tiny) == "50.0, too few subjects (4) [61.8]"
    assert against_text(tiny) == "too few subjects (4)"
    assert against_text(one) == ""
    (table,) = tables()
    (lora,) = [row for row in table.rows if row.key == "m.lora"]
    assert against_text(lora.cells[0]).startswith("+")
    assert seeds_run(table) == "3 seeds"
