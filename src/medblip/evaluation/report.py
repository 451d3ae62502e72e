"""One self-contained HTML page that a sceptical reader can check.

Nothing is loaded from anywhere: styles are inline, drawings are inline SVG, scans are data URIs,
and a content security policy forbids the rest.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medblip import notice, storage
from medblip.evaluation import figures, verdicts
from medblip.evaluation.content import (
    Calibration,
    Case,
    Comparison,
    GroupResult,
    PaperSubset,
    ReportContent,
    RunFacts,
    SplitCount,
)
from medblip.evaluation.vqa_shown import QUESTION_CONDITIONS

__all__ = [
    "Calibration",
    "Case",
    "Comparison",
    "GroupResult",
    "PaperSubset",
    "ReportContent",
    "RunFacts",
    "SplitCount",
    "render_report",
    "write_report",
]

FULL_TITLE = "Image and record"
STANDING_LIMITATIONS = (
    "Intervals cover the drawing of test subjects only. They say nothing about other training "
    "runs, other seeds, other scanners or other populations.",
    "Labels are what the study calls a diagnosis. Where a field that helped to define the label is "
    "also in the record, accuracy is too kind.",
    "Differences are tested one by one, without correction for their number.",
)


def write_report(path: Path, content: ReportContent) -> Path:
    """Write the page atomically; the same content gives the same bytes. Returns ``path``."""
    storage.write_text(path, render_report(content))
    return path


def render_report(content: ReportContent) -> str:
    """The page as HTML text."""
    environment = Environment(
        loader=PackageLoader("medblip.evaluation"),
        autoescape=True,  # record text is data: whatever it holds, it stays text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": verdicts.percent,
        "decimal": verdicts.decimal,
        "span": verdicts.span,
        "points": verdicts.points,
        "p_value": verdicts.p_value,
        "png_uri": png_uri,
        "duration": _duration,
    }
    full = content.full
    return environment.get_template("report.html.jinja").render(
        c=content,
        full=full,
        full_title=FULL_TITLE,
        interval_name=f"{full.confidence:.0%} interval",
        classes_seen=sum(rows > 0 for rows in full.rows_per_class),
        nc_ad_rows=sum(
            rows
            for name, rows in zip(full.classes, full.rows_per_class, strict=True)
            if name in ("NC", "AD")
        ),
        baseline=verdicts.commonest_share(full),
        headline=verdicts.headline(full),
        verdicts=verdicts.verdicts(
            full, content.controls, content.simple_models, content.calibration
        ),
        figures=_figures(content),
        subset_controls=_control_titles(content.subsets),
        question_conditions=QUESTION_CONDITIONS,
        limitations=[*STANDING_LIMITATIONS, *content.limitations],
        research_use=notice.RESEARCH_USE,
        simulated_data=notice.SIMULATED_DATA,
    )


def _control_titles(subsets: Sequence[PaperSubset]) -> list[str]:
    """Of the controls of the subsets, which are the same for all that could be drawn."""
    return list(dict.fromkeys(c.title for subset in subsets for c in subset.controls))


def _figures(content: ReportContent) -> dict[str, Markup]:
    """Drawings by name, as inline SVG."""
    full, calibration = content.full, content.calibration
    drawn = {
        "bars": (
            figures.accuracy_bars(_bars(content), verdicts.commonest_share(full)),
            "Accuracy of "
            + "; ".join(
                f"{bar.label}: {verdicts.percent(bar.accuracy.value)}" for bar in _bars(content)
            ),
        ),
        "confusion": (
            figures.confusion_matrix(full.confusion, full.classes),
            "Confusion matrix. "
            + "; ".join(
                f"true {name}: "
                + ", ".join(
                    f"{count} answered {answer}"
                    for answer, count in zip(full.classes, row, strict=True)
                )
                for name, row in zip(full.classes, full.confusion, strict=True)
            ),
        ),
        "reliability": (
            figures.reliability_diagram(calibration.bins, calibration.raw_bins),
            "Reliability diagram. "
            + "; ".join(
                f"confidence {b.confidence:.0%}, right {b.accuracy:.0%} of {b.rows}"
                for b in calibration.bins
            ),
        ),
    }
    if content.training_rows:
        drawn["training"] = (
            figures.training_curves(content.training_rows),
            "Training losses by part and validation accuracy over "
            f"{len(content.training_rows)} logged steps",
        )
    # Safe: the drawing module escapes names and texts itself.
    return {
        name: Markup(figures.to_svg(figure, name, alt))  # noqa: S704
        for name, (figure, alt) in drawn.items()
    }


def _bars(content: ReportContent) -> list[figures.Bar]:
    controls = [figures.Bar(c.title, c.metrics.accuracy, "control") for c in content.controls]
    simple = [figures.Bar(c.title, c.metrics.accuracy, "simple") for c in content.simple_models]
    return [figures.Bar(FULL_TITLE, content.full.accuracy, "ours"), *controls, *simple]


def png_uri(png: bytes) -> str:
    """A picture as part of a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
