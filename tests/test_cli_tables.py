"""What is printed at the end: every number a person needs, plain where there is no terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from medblip.cli_tables import CODES_SHOWN, PLAIN_WIDTH, print_results, print_study
from medblip.cohorts.summary import CodeCount, CohortSummary, StudySummary
from medblip.findings import Finding
from medblip.study.leakage import Predictability

LABELS = ("NC", "MCI", "AD", "OTHER", "none")
NUMBER = {"value": 0.75, "low": 0.5, "high": 0.9}
METRICS = {
    "n_rows": 12, "n_subjects": 10,
    "accuracy": NUMBER, "balanced_accuracy": NUMBER, "macro_auc": {**NUMBER, "value": None},
}  # fmt: skip


def cohort(name: str, found: int, used: int) -> CohortSummary:
    return CohortSummary(name, found, used, 7, 8, dict.fromkeys(LABELS, 0) | {"NC": used})


def summary(ceiling: Predictability | None = None, audit: int = 1) -> StudySummary:
    codes = [CodeCount(f"bad-thing-{n}", "error", 1, "it [is] bad") for n in range(CODES_SHOWN + 2)]
    return StudySummary(
        cohorts=(cohort("ADNI", 51, 47), cohort("NACC", 1061, 1052)),
        codes=(*codes, CodeCount("much-noted", "note", 400, "long " * 200)),
        audit=tuple(Finding("a-leak", "error", "images.tsv", f"{n}", "mend") for n in range(audit)),
        ceiling=ceiling,
        findings=Path("study/findings.tsv"),
        page=Path("study/audit.html"),
    )


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= PLAIN_WIDTH
    return [line.split() for line in printed.splitlines()]


def test_scans_add_up_and_findings_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_study(summary())
    printed = lines(capsys)
    assert ["ADNI", "51", "47", "4", "7", "8", "47", "0", "0", "0", "0"] in printed
    assert ["all", "1112", "1099", "13", "14", "16", "1099", "0", "0", "0", "0"] in printed
    assert ["error", "bad-thing-0", "1", "it", "[is]", "bad"] in printed
    assert ["error", "2", "other", "codes", "2"] in printed
    assert next(line for line in printed if "much-noted" in line)[:3] == [
        "note",
        "much-noted",
        "400",
    ]
    assert ["[error]", "images.tsv:", "0;", "mend"] in printed
    assert ["Audit", "page:", "study/audit.html"] in printed


def test_the_ceiling_or_that_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_study(summary(Predictability("record", (), 0.61, 0.55, 0.7, 1 / 3, 0.33, 1e-9, 80)))
    text = " ".join(word for line in lines(capsys) for word in line)
    assert "80 subjects with a balanced accuracy of 0.61 (95% interval 0.55 to 0.70" in text
    print_study(summary(audit=20))
    text = " ".join(word for line in lines(capsys) for word in line)
    assert "not measured" in text
    assert "and 12 more" in text


def subset(labels: list[str], drawn: int) -> dict[str, object]:
    conditions = {name: {"metrics": METRICS} for name in ("full", "record", "image")}
    return {
        "name": "OASIS-2x200", "unit": "subject", "labels": labels, "per_label": drawn,
        "per_label_in_paper": 200, "conditions": conditions if drawn else {},
    }  # fmt: skip


def test_subsets_stand_below_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    results = {
        "conditions": {"full": {"title": "Image and record", "metrics": METRICS}},
        "simple_models": {},
        "subsets": [subset(["NC", "AD"], 6), subset(["NC", "AD"], 200), subset(["NC", "AD"], 0)],
    }
    print_results(results)
    text = "\n".join(" ".join(line) for line in lines(capsys))
    assert "Image and record 75.0% 50.0% to 90.0% 75.0% -" in text
    name = "OASIS-2x200, one scan a subject"
    assert f"{name}; 6 a label, not 200 NC/AD 12 10 75.0% 50.0% to 90.0% 75.0% 75.0%" in text
    assert f"{name} NC/AD 12 10" in text
    assert f"{name}; 0 a label, not 200 NC/AD 0 0 - not every label is there" in text
    assert "over these two answers only" in text
    print_results({**results, "subsets": []})
    assert "subsets" not in capsys.readouterr().out
