"""How the simulated questions are worded, by kind; answers are given by the truth's class.

Every wording of a kind is used equally often with every class. So the wording tells nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from medblip.vqa.dialogue_words import REGION_NAMES
from medblip.vqa.normal_for_age import GRADES, SIZES

YES, NO = "yes", "no"
CANNOT = "the scan cannot show it"
SIDES = ("right", "about the same", "left")  # by left less right, lowest first
MOST_AFFECTED = tuple(REGION_NAMES.values())
COUNTS = ("none", "one", "two", "three")
FOR_AGE = ("smaller than expected", "as expected", "larger than expected")


@dataclass(frozen=True, slots=True)
class Wording:
    """One way to ask.

    Attributes:
        text: the question; ``{age}`` stands for the whole years.
        answers: the right answer by class, lowest first.
    """

    text: str
    answers: tuple[str, ...]


WORDINGS: dict[str, tuple[Wording, ...]] = {
    "medial-temporal-grade": (
        Wording("What is the grade of medial temporal atrophy?", GRADES),
        Wording("How severe is the loss of tissue in the medial temporal lobes?", GRADES),
        Wording("Grade the atrophy of hippocampus and amygdala on this scan.", GRADES),
    ),
    "ventricle-size": (
        Wording("How large are the lateral ventricles?", SIZES),
        Wording("What is the size of the ventricles on this scan?", SIZES),
        Wording("Which size do the fluid-filled spaces inside the brain have?", SIZES),
    ),
    "ventricles-for-age": (
        Wording("The subject is {age} years old. How large are the ventricles for this age?",
                FOR_AGE),
        Wording("At {age} years of age, how does the size of the ventricles compare with what "
                "is expected?", FOR_AGE),
        Wording("Compared with healthy people of {age}, how large are these ventricles?", FOR_AGE),
    ),
    "larger-for-age": (
        Wording("The subject is {age} years old. Are the ventricles larger than expected?",
                (NO, YES)),
        Wording("Do the ventricles stay within what is expected at {age} years?", (YES, NO)),
    ),
    "medial-temporal-loss": (
        Wording("Is there marked atrophy of the medial temporal lobes?", (NO, YES)),
        Wording("Are the medial temporal lobes well preserved?", (YES, NO)),
    ),
    "cortical-thinning": (
        Wording("Is the cortex thinned?", (NO, YES)),
        Wording("Is the thickness of the cortex preserved?", (YES, NO)),
    ),
    "skull": (
        Wording("Does the image show skull and scalp?", (NO, YES)),
        Wording("Has the skull been removed from the image?", (YES, NO)),
        Wording("Could the thickness of the scalp be measured on this image?", (NO, YES)),
    ),
    "medial-temporal-side": (
        Wording("On which side is the atrophy of the medial temporal lobe stronger?", SIDES),
        Wording("Compare the medial temporal lobes: which side has lost more tissue?", SIDES),
        Wording("Which hippocampus and amygdala are affected more?", SIDES),
    ),
    "ventricle-side": (
        Wording("Which lateral ventricle is enlarged more?", SIDES),
        Wording("Compare the lateral ventricles: on which side have they grown more?", SIDES),
        Wording("On which side is the enlargement of the ventricles stronger?", SIDES),
    ),
    "left-medial-temporal-more": (
        Wording("Is the left medial temporal lobe affected more than the right one?", (NO, YES)),
        Wording("Is the right medial temporal lobe affected more than the left one?", (YES, NO)),
    ),
    "left-ventricle-more": (
        Wording("Is the left lateral ventricle enlarged more than the right one?", (NO, YES)),
        Wording("Is the right lateral ventricle enlarged more than the left one?", (YES, NO)),
    ),
    "most-affected-region": (
        Wording("The subject is {age} years old. Which region is affected most for this age?",
                MOST_AFFECTED),
        Wording("Which of ventricles, medial temporal lobes and cortex is the furthest from what "
                "is expected at {age} years?", MOST_AFFECTED),
        Wording("Compared with healthy people of {age}, where is the change strongest?",
                MOST_AFFECTED),
    ),
    "regions-affected": (
        Wording("The subject is {age} years old. How many of ventricles, medial temporal lobes "
                "and cortex are affected more than expected?", COUNTS),
        Wording("Of ventricles, medial temporal lobes and cortex, how many are beyond what is "
                "expected at {age} years?", COUNTS),
        Wording("Count the regions, out of ventricles, medial temporal lobes and cortex, that have "
                "changed more than in healthy people of {age}.", COUNTS),
    ),
}  # fmt: skip

# What no scan shows, with answers that sound likely.
UNANSWERABLE: tuple[tuple[str, tuple[str, str, str]], ...] = (
    ("What is the subject's blood pressure?", ("low", "normal", "high")),
    ("What is the subject's handedness?", ("left-handed", "right-handed", "ambidextrous")),
    ("Which blood group does the subject have?", ("A", "B", "O")),
    ("What is the subject's first language?", ("English", "Spanish", "German")),
    ("How is the subject's cholesterol?", ("low", "normal", "high")),
    ("What is the colour of the subject's eyes?", ("brown", "blue", "green")),
    ("Which medicine does the subject take?", ("donepezil", "memantine", "none")),
    ("How many years did the subject go to school?", ("8 years", "12 years", "16 years")),
    ("Does the subject smoke?", ("never", "formerly", "at present")),
    ("What did the subject score in the Mini-Mental State Examination?",
     ("20 points", "25 points", "29 points")),
)  # fmt: skip
UNANSWERABLE_KIND = "unanswerable"
