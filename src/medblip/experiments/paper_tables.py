"""Tables 2 to 6 of the paper as data: accuracy in percent, means of 5 runs.

A cell that is None was not available to us when this was written; it is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A test set.

    Attributes:
        name: as in the paper.
        labels: how many answers there are to choose from; 0 where it differs by question.
        zero_shot: whether training saw none of its cohort.
    """

    name: str
    labels: int
    zero_shot: bool = False


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A model or setting.

    Attributes:
        key: for records; ``<language model>.<condition>`` in Table 2.
        title: for people.
        values: percent, one a column; None where not known.
    """

    key: str
    title: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class PaperTable:
    """One table.

    Attributes:
        number: in the paper.
        title: what it shows.
        columns, rows: in the paper's order.
        note: what a reader should know about it.
    """

    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[PaperRow, ...]
    note: str = ""

    def __post_init__(self) -> None:
        if any(len(row.values) != len(self.columns) for row in self.rows):
            raise ValueError(f"Table {self.number}: a row has not one value a column")

    def title_of(self, row: str) -> str:
        """Title of a row; the key itself where the paper has no such row."""
        return {r.key: r.title for r in self.rows}.get(row, row)

    def value(self, row: str, column: str) -> float | None:
        """A cell in percent; None where the paper has no such cell, or it is not known."""
        names = [c.name for c in self.columns]
        found = [r for r in self.rows if r.key == row]
        return found[0].values[names.index(column)] if found and column in names else None


def table_name(number: int) -> str:
    """``Table 2``, or what stands in the place of a table of the paper."""
    return "Low data" if number == LOW_DATA else f"Table {number}"


SUBSETS = (
    Column("ADNI-3x200", 3),
    Column("NACC-3x200", 3),
    Column("OASIS-2x200", 2),
    Column("AIBL-3x200", 3, zero_shot=True),
    Column("MIRIAD-2x200", 2, zero_shot=True),
)
LOW_DATA = 0  # in the place of a table's number: our curve over training subjects
UNSEEN_MARK = ", unseen"  # ends the name of a study's own cohort that training saw none of
TEXT_ONLY, FROZEN, LORA = "text_only", "frozen", "lora"
CONDITIONS = {TEXT_ONLY: "text only", FROZEN: "frozen language model", LORA: "LoRA"}
LANGUAGE_MODELS = {
    "flan-t5": "FLAN-T5-XL",
    "biogpt": "BioGPT-Large",
    "biomedlm": "BioMedLM",
}
VIT, QFORMER, FULL = "vit", "medqformer", "medblip"
IMAGE_TEXT_FIRST, QUESTION_FIRST = "image_text_question", "question_image_text"
ITC_RECORD, ITC_BOTH = "itc_record", "itc_both"

_UNKNOWN = (None,) * len(SUBSETS)
_TABLE_2: dict[tuple[str, str], tuple[float, ...]] = {
    ("flan-t5", TEXT_ONLY): (37.0, 39.5, 46.7, 33.3, 60.0),
    ("flan-t5", FROZEN): (50.5, 69.2, 61.3, 54.7, 64.0),
    ("flan-t5", LORA): (64.0, 77.3, 75.8, 59.2, 66.8),
    ("biogpt", TEXT_ONLY): (25.7, 21.7, 28.3, 26.7, 50.0),
    ("biogpt", FROZEN): (56.3, 66.5, 66.0, 60.7, 55.2),
    ("biogpt", LORA): (62.2, 72.3, 71.7, 62.4, 59.7),
    ("biomedlm", TEXT_ONLY): (62.5, 63.5, 61.8, 65.7, 46.3),
    ("biomedlm", FROZEN): (71.2, 82.0, 79.8, 77.8, 66.1),
    ("biomedlm", LORA): (78.7, 83.3, 85.3, 80.8, 71.0),
}

PAPER_TABLES: dict[int, PaperTable] = {
    2: PaperTable(
        2,
        "Language models, with and without the image, frozen and tuned",
        SUBSETS,
        tuple(
            PaperRow(f"{lm}.{how}", f"{LANGUAGE_MODELS[lm]}, {CONDITIONS[how]}", values)
            for (lm, how), values in _TABLE_2.items()
        ),
    ),
    3: PaperTable(
        3,
        "Closed-ended questions",
        (Column("M3D-VQA-AD", 0),),
        (
            PaperRow("m3d-lamed", "M3D-LaMed", (72.88,)),
            PaperRow(FULL, "MedBLIP", (77.96,)),
        ),
        "The paper's list of questions was never published.",
    ),
    4: PaperTable(
        4,
        "Image encoders",
        (Column("ADNI-3x200", 3),),
        (
            PaperRow(VIT, "Trainable ViT-g (1 B), linear head, image only", (72.2,)),
            PaperRow(QFORMER, "MedQFormer (151 M), linear head, image only", (71.6,)),
            PaperRow(FULL, "MedBLIP", (78.7,)),
        ),
        "The paper calls the test set ADNI; MedBLIP's number is that of ADNI-3x200 in Table 2.",
    ),
    5: PaperTable(
        5,
        "Order of the prompt",
        SUBSETS,
        (
            PaperRow(IMAGE_TEXT_FIRST, "(image and text, question, answer)", _UNKNOWN),
            PaperRow(QUESTION_FIRST, "(question, image and text, answer)", _UNKNOWN),
        ),
        "The paper's numbers were not available to us.",
    ),
    6: PaperTable(
        6,
        "Contrastive losses",
        SUBSETS,
        (
            PaperRow(ITC_RECORD, "ITC of image and record alone", (71.7, 80.5, 82.5, 74.7, 66.8)),
            PaperRow(ITC_BOTH, "Both ITC losses", (78.7, 83.3, 85.3, 80.8, 71.0)),
        ),
    ),
}
