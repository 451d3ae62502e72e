"""What can be answered without the scan: strategies that see question and choices only.

They say whether a set of questions is fair before any model is trained: on the simulated ones each
must score chance.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from medblip.vqa.questions import Question

Answers = list[str]
Strategy = Callable[[Sequence[Question], Sequence[Question]], Answers]


@dataclass(frozen=True, slots=True)
class BlindScore:
    """Accuracy of one strategy.

    Attributes:
        strategy: its name.
        accuracy: fraction answered right.
        chance: mean of one over the number of choices.
        low, high: 95% interval of the accuracy of guessing as many questions.
        n: questions.
    """

    strategy: str
    accuracy: float
    chance: float
    low: float
    high: float
    n: int

    @property
    def at_chance(self) -> bool:
        return self.low <= self.accuracy <= self.high


def blind_scores(
    training: Sequence[Question], test: Sequence[Question]
) -> dict[str, list[BlindScore]]:
    """Each strategy on the answerable closed questions, by kind and over ``all``."""
    learned = [q for q in training if q.choices and q.answerable]
    asked = [q for q in test if q.choices and q.answerable]
    scores: dict[str, list[BlindScore]] = defaultdict(list)
    for name, strategy in STRATEGIES.items():
        said = strategy(learned, asked)
        for kind in ("all", *sorted({q.kind for q in asked})):
            pairs = [(q, a) for q, a in zip(asked, said, strict=True) if kind in ("all", q.kind)]
            if pairs:
                scores[kind].append(_score(name, pairs))
    return dict(scores)


def template(question: Question) -> str:
    """The wording of the question and of the turns before it, whatever its numbers."""
    return f"{question.kind}: {re.sub(r'[0-9]+', '#', _read(question))}"


def _read(question: Question) -> str:
    turns = [part for turn in question.turns for part in (turn.question, turn.answer)]
    return "\n".join([*turns, question.text])


def majority_of_template(training: Sequence[Question], test: Sequence[Question]) -> Answers:
    """The commonest answer to the same wording."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for question in training:
        seen[template(question)][question.answer] += 1
    return [_likeliest(q, seen[template(q)]) for q in test]


def majority_position(training: Sequence[Question], test: Sequence[Question]) -> Answers:
    """The choice where the answer to the same kind stands most often."""
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for question in training:
        seen[question.kind][question.answer_index] += 1
    counts = ((q, seen[q.kind]) for q in test)
    return [_likeliest(q, {c: at[n] for n, c in enumerate(q.choices)}) for q, at in counts]


def longest_choice(training: Sequence[Question], test: Sequence[Question]) -> Answers:
    """The longest choice, which is the right one in many sets made by hand."""
    return [max(question.choices, key=len) for question in test]


def bag_of_words(training: Sequence[Question], test: Sequence[Question]) -> Answers:
    """Logistic regression on the words of the question and on which choice stands where."""
    if len({question.answer for question in training}) < 2:
        return longest_choice(training, test)
    vectorizer = DictVectorizer()
    model = LogisticRegression(C=1.0, max_iter=500)
    features = vectorizer.fit_transform([_words(question) for question in training])
    model.fit(features, [question.answer for question in training])
    probabilities = model.predict_proba(vectorizer.transform([_words(q) for q in test]))
    weights = (dict(zip(model.classes_, row, strict=True)) for row in probabilities)
    return [_likeliest(q, known) for q, known in zip(test, weights, strict=True)]


STRATEGIES: dict[str, Strategy] = {
    "majority of the wording": majority_of_template,
    "majority position": majority_position,
    "longest choice": longest_choice,
    "bag of words": bag_of_words,
}


def _likeliest(question: Question, weights: Mapping[str, float]) -> str:
    """The choice of most weight; the first of equal ones."""
    return max(question.choices, key=lambda choice: weights.get(choice, -1.0))


def _words(question: Question) -> dict[str, int]:
    words = Counter(re.findall(r"\w+", _read(question).casefold()))
    places = {f"{n}={choice}": 1 for n, choice in enumerate(question.choices)}
    return {**words, **places, template(question): 1}


def _score(name: str, pairs: Sequence[tuple[Question, str]]) -> BlindScore:
    chances = np.array([1 / len(question.choices) for question, _ in pairs])
    # A guess is right with its own chance, so the sum is nearly normal with these moments.
    half = float(norm.ppf(0.975) * np.sqrt((chances * (1 - chances)).sum()) / len(pairs))
    chance = float(chances.mean())
    right = float(np.mean([question.answer == answer for question, answer in pairs]))
    return BlindScore(name, right, chance, chance - half, chance + half, len(pairs))
