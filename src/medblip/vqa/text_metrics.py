"""BLEU, ROUGE and METEOR of open answers, by the libraries that the field uses.

They reward words, not truth: "larger" for "smaller" hardly lowers them. Read them beside
`medblip.vqa.facts`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medblip.errors import UsageError

EXTRA = "text-metrics"


@dataclass(frozen=True, slots=True)
class TextMetrics:
    """Over a corpus, each 0 to 1.

    Attributes:
        bleu, bleu1: corpus BLEU-4 and BLEU-1 (sacreBLEU, its default tokeniser, lower case).
        rouge1, rouge_l: mean F-measure, with stemming.
        meteor: mean METEOR of exact words and stems; its synonyms need WordNet, which no package
            brings along, so numbers are a little below those with it.
    """

    bleu: float
    bleu1: float
    rouge1: float
    rouge_l: float
    meteor: float


def text_metrics(answers: Sequence[str], references: Sequence[str]) -> TextMetrics:
    """Metrics of answers against one reference each.

    Raises:
        UsageError: the libraries are not installed, or there are no answers, or not as many as
            references.
    """
    if not answers or len(answers) != len(references):
        problem = f"{len(answers)} answers and {len(references)} references"
        raise UsageError("text metrics", problem, "give one of each", code="bad-answers")
    rouge = _rouge(answers, references)
    return TextMetrics(
        bleu=_bleu(answers, references, 4),
        bleu1=_bleu(answers, references, 1),
        rouge1=rouge["rouge1"],
        rouge_l=rouge["rougeL"],
        meteor=_meteor(answers, references),
    )


def _bleu(answers: Sequence[str], references: Sequence[str], order: int) -> float:
    bleu = _library("sacrebleu.metrics").BLEU(lowercase=True, max_ngram_order=order)
    return float(bleu.corpus_score(list(answers), [list(references)]).score) / 100


def _rouge(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    names = ["rouge1", "rougeL"]
    scorer = _library("rouge_score.rouge_scorer").RougeScorer(names, use_stemmer=True)
    scores = [scorer.score(r, a) for a, r in zip(answers, references, strict=True)]
    return {n: sum(float(s[n].fmeasure) for s in scores) / len(scores) for n in names}


def _meteor(answers: Sequence[str], references: Sequence[str]) -> float:
    score = _library("nltk.translate.meteor_score").meteor_score
    pairs = zip(answers, references, strict=True)
    values = [float(score([r.split()], a.split(), wordnet=_NoSynonyms())) for a, r in pairs]
    return sum(values) / len(values)


class _NoSynonyms:
    """In place of WordNet: no word has synonyms."""

    def synsets(self, word: str) -> list[Any]:
        return []


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fix = f"pip install 'medblip[{EXTRA}]'"
        problem = f"{name} is not installed"
        raise UsageError("text metrics", problem, fix, code="missing-extra") from error
