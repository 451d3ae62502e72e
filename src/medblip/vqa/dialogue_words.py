"""How dialogues about simulated scans are worded; ``{...}`` is filled from the ground truth."""

from __future__ import annotations

REGION_NAMES = {
    "ventricles": "ventricles",
    "medial_temporal": "medial temporal lobes",
    "cortex": "cortex",
}
PLURAL = {"are": "are", "do": "do", "have": "have", "measure": "measure"}
SINGULAR = {"are": "is", "do": "does", "have": "has", "measure": "measures"}
VERBS = {"ventricles": PLURAL, "medial_temporal": PLURAL, "cortex": SINGULAR}

FINDINGS = (
    "This is the scan of a person of {age} years. What do you see?",
    "Describe the scan. The subject is {age} years old.",
    "The subject is {age}. What are the findings?",
)
FINDINGS_ANSWERS = (
    "The ventricles are {size}. The medial temporal lobes show {grade} atrophy. "
    "The cortex is {cortex}.",
    "I see {size} ventricles, {grade} atrophy of the medial temporal lobes and a {cortex} cortex.",
)

MEASURE = (
    "How much has the tissue of the {region} changed?",
    "By how many millimetres {do} the {region} differ from the template?",
    "Measure the {region}.",
)
AND_REGION = ("And the {region}?", "What about the {region}?", "The same for the {region}, please.")
MEASURE_ANSWERS = (
    "The {region}: {mm} on average.",
    "On average, the tissue of the {region} is displaced by {mm}.",
)

EXPECTED = (
    "Is that more than expected at this age?",
    "How does that compare with healthy people of this age?",
    "Is this usual at that age?",
)
EXPECTED_ANSWERS = (
    "The {region} {are} {compared}: {mm} against {normal} in healthy people of {age} years.",
    "For the {region}, healthy people of {age} years have {normal}; this scan has {mm}, which is "
    "{compared}.",
)

SIDES = (
    "Is it the same on both sides?",
    "Which side is it stronger on?",
    "And left against right?",
)
SIDES_ANSWERS = (
    "The {region}: left {left}, right {right}. {compared_sides}.",
    "Left {region} {left}, right {region} {right}. {compared_sides}.",
)
COMPARED_SIDES = (
    "The change is more on the right",
    "That is about the same on both sides",
    "The change is more on the left",
)

WHY = (
    "Which measurement supports that?",
    "How do you come to that?",
    "What is the evidence?",
)
WHY_ANSWERS = (
    "The {region} {measure} {mm}. At {age} years {normal} are usual with a standard deviation of "
    "{sd}, so this is {deviation} standard deviations from the usual.",
    "The {region} {have} {mm} where {normal} are usual at {age} years; with a standard deviation "
    "of {sd} that makes {deviation} standard deviations.",
)

REFUSALS = (
    "The scan cannot show it.",
    "That cannot be seen on a scan.",
    "A scan does not show that.",
)

# First turns of the two-turn cases, and what is said to them; the second turn needs the first.
CLAIMS = {
    "larger-for-age": (
        "I think the ventricles of this subject of {age} years stay within what is expected.",
        "I think the ventricles of this subject of {age} years are larger than expected.",
    ),
    "medial-temporal-loss": (
        "I think the medial temporal lobes are well preserved here.",
        "I think there is marked atrophy of the medial temporal lobes here.",
    ),
    "cortical-thinning": (
        "I think the thickness of the cortex is preserved here.",
        "I think the cortex is thinned here.",
    ),
    "skull": (
        "I think the skull has been removed from this image.",
        "I think this image shows the skull.",
    ),
    "left-medial-temporal-more": (
        "I think the right medial temporal lobe is affected more than the left one.",
        "I think the left medial temporal lobe is affected more than the right one.",
    ),
    "left-ventricle-more": (
        "I think the right lateral ventricle is enlarged more than the left one.",
        "I think the left lateral ventricle is enlarged more than the right one.",
    ),
}
CLAIM_REPLIES = ("I will compare that with the scan.", "Let me look at the scan.")
CLAIM_QUESTIONS = ("Am I right?", "Is that so?")

TOPICS = {
    "skull": "the skull",
    "medial-temporal-loss": "marked atrophy of the medial temporal lobes",
    "cortical-thinning": "thinning of the cortex",
}
TOPIC_TURNS = ("My next question is about {topic}.", "Let us turn to {topic}.")
TOPIC_REPLIES = ("Please go on.", "What would you like to know?")
TOPIC_QUESTIONS = ("Is it there on this scan?", "Does this scan have it?")

# Where no image lacks the skull, the two sides of a part stand for what is there and what is not.
SIDE_TOPICS = {
    "left-medial-temporal-more": (
        "the left medial temporal lobe",
        "the right medial temporal lobe",
    ),
    "left-ventricle-more": ("the left lateral ventricle", "the right lateral ventricle"),
}
SIDE_TOPIC_QUESTIONS = (
    "Has it changed more than the same part on the other side?",
    "Is it affected more than its counterpart?",
)

MEASURE_TURNS = ("My next question is about the {region}.", "Let us turn to the {region}.")
MEASURE_QUESTIONS = (
    "By how many millimetres does it differ from the template on average?",
    "How many millimetres is the mean displacement there?",
)
