"""Whether a training shows two scans of a subject in one prompt."""

from __future__ import annotations

from medblip.recipe import Recipe
from medblip.study.study import Study
from medblip.training.train_share import training_examples
from medblip.vqa.study_questions import asked_about, by_session, study_questions


def compares_scans(recipe: Recipe, study: Study) -> bool:
    """Whether a question about a training session compares it with an earlier one.

    Raises:
        InputError: the recipe asks questions, and those of the study cannot be used.
    """
    if not recipe.asks_questions:
        return False
    questions = by_session(study_questions(study))
    return any(q.prior for _, q in asked_about(training_examples(study, recipe), questions))
