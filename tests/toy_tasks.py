"""One small definition of each kind of question, and ways to change it."""

import copy
from typing import Any

from freelm.tasks import Task

CHOICE: dict[str, Any] = {
    "name": "toy",
    "version": 1,
    "family": "sentiment",
    "question": "choice",
    "reference": "invented",
    "fields": {"text": "sentence"},
    "context": ["{text}"],
    "label": {"column": "label", "ids": {"bad": 0, "fair": 1, "good": 2}},
    "phrasings": [
        {
            "name": "plain",
            "claims": {"bad": "It is bad.", "fair": "It is fair.", "good": "It is good."},
            "opposites": {"bad": "Not bad.", "fair": "Not fair.", "good": "Not good."},
        },
        {
            "name": "held",
            "held_out": True,
            "claims": {"bad": "He hates it.", "fair": "He bears it.", "good": "He loves it."},
        },
    ],
    "metrics": ["accuracy"],
}

TEMPLATE: dict[str, Any] = {
    **CHOICE,
    "label": {
        "column": "label",
        "ids": {"bad": 0, "good": 1},
        "descriptions": {"bad": "a bad thing", "good": "a good thing"},
    },
    "phrasings": [
        {
            "name": "about",
            "template": "It is {label}.",
            "opposite_template": "It is not {label}.",
        }
    ],
}

PREDICATE: dict[str, Any] = {
    **CHOICE,
    "question": "predicate",
    "label": {"column": "label", "ids": {"false": 0, "true": 1}},
    "phrasings": [{"name": "plain", "claims": {"false": "It is not.", "true": "It is."}}],
}

SCORE: dict[str, Any] = {
    **CHOICE,
    "question": "score",
    "label": {"column": "label", "ids": {"low": 0, "middle": 1, "high": 3}},
    "phrasings": [
        {"name": "plain", "claims": {"low": "It is low.", "middle": "Middling.", "high": "High."}}
    ],
}

OPTIONS: dict[str, Any] = {
    **CHOICE,
    "question": "options",
    "label": {"column": "answer"},
    "options": {"columns": ["choice1", "choice2"]},
    "phrasings": [
        {
            "name": "plain",
            "template": 'The answer is "{option}".',
            "opposite_template": 'The answer is not "{option}".',
        }
    ],
}


def make(base: dict[str, Any], **changes: Any) -> Task:
    """A task from `base`; a key `a__b` changes the key `b` below the key `a`."""
    data = copy.deepcopy(base)
    for key, value in changes.items():
        *above, last = key.split("__")
        place = data
        for name in above:
            place = place[name]
        place[last] = value
    return Task.model_validate(data)
