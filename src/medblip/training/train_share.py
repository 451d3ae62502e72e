"""Training on fewer subjects: how much does what is learnt hang on how many there are?

Smaller shares lie in larger ones, and every seed has the same subjects: a curve over shares then
shows what more subjects bring, and not which ones were drawn.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from medblip.recipe import Recipe
from medblip.study.study import Example, Study


def training_examples(study: Study, recipe: Recipe) -> list[Example]:
    """The sessions that a recipe trains on: those of ``train_share`` of the training subjects.

    Raises:
        UsageError: see `Study.examples`.
    """
    examples = study.examples("train", recipe.sessions)
    if recipe.train_share == 1:
        return examples
    chosen = share_of_subjects(examples, recipe.train_share)
    return [e for e in examples if e.participant_id in chosen]


def share_of_subjects(examples: Sequence[Example], share: float) -> frozenset[str]:
    """A share of the subjects of each label, by the label of their first example; at least one.

    Within a label the subjects go in by the SHA-256 of ``participant_id``.

    Args:
        examples: by subject and time.
        share: above 0, at most 1.
    """
    labels: dict[str, str] = {}
    for example in examples:
        labels.setdefault(example.participant_id, example.label)
    groups: dict[str, list[str]] = defaultdict(list)
    for subject, label in labels.items():
        groups[label].append(subject)
    return frozenset(
        subject
        for members in groups.values()
        for subject in sorted(members, key=_hash)[: max(1, round(share * len(members)))]
    )


def _hash(subject: str) -> str:
    return hashlib.sha256(subject.encode()).hexdigest()
