import pytest

from freelm.config import InteractionConfig
from freelm.train.schedule import Turn, turn


def table(steps: int, **interaction) -> str:
    """`L0 L1 T0 B3 ...`: language, teacher or both, with the ordinals."""
    config = InteractionConfig(**interaction)
    words = []
    for step in range(steps):
        whose = turn(config, step)
        if whose.name == "both":
            assert whose.language == whose.teacher
        number = whose.teacher if whose.language is None else whose.language
        words.append(f"{whose.name[0].upper()}{number}")
    return " ".join(words)


@pytest.mark.parametrize(
    ("interaction", "expected"),
    [
        ({"kind": "alternate"}, "L0 T0 L1 T1 L2 T2 L3 T3 L4 T4"),
        (
            {"kind": "alternate", "language_steps": 2, "teacher_steps": 3},
            "L0 L1 T0 T1 T2 L2 L3 T3 T4 T5",
        ),
        (
            {"kind": "alternate", "language_steps": 1, "teacher_steps": 7},
            "L0 T0 T1 T2 T3 T4 T5 T6 L1 T7",
        ),
        ({"kind": "alternate", "language_steps": 3}, "L0 L1 L2 T0 L3 L4 L5 T1 L6 L7"),
        ({"kind": "sequential", "language_steps": 4}, "L0 L1 L2 L3 T0 T1 T2 T3 T4 T5"),
        ({"kind": "mixed"}, "B0 B1 B2 B3 B4 B5 B6 B7 B8 B9"),
        (
            {"kind": "mixed", "language_steps": 2, "teacher_steps": 3},
            "B0 B1 B2 B3 B4 B5 B6 B7 B8 B9",
        ),
        ({"kind": "language_only"}, "L0 L1 L2 L3 L4 L5 L6 L7 L8 L9"),
        ({"kind": "teacher_only"}, "T0 T1 T2 T3 T4 T5 T6 T7 T8 T9"),
    ],
)
def test_turns(interaction, expected):
    assert table(10, **interaction) == expected


@pytest.mark.parametrize("kind", ["alternate", "sequential", "mixed"])
@pytest.mark.parametrize(("language", "teacher"), [(1, 1), (2, 5), (7, 3)])
def test_the_ordinals_of_each_signal_have_no_gaps(kind, language, teacher):
    config = InteractionConfig(kind=kind, language_steps=language, teacher_steps=teacher)
    turns = [turn(config, step) for step in range(200)]
    for signal in ("language", "teacher"):
        ordinals = [getattr(t, signal) for t in turns if getattr(t, signal) is not None]
        assert ordinals == list(range(len(ordinals)))
        assert ordinals


def test_names():
    assert [Turn(0, None).name, Turn(None, 0).name, Turn(0, 0).name] == [
        "language",
        "teacher",
        "both",
    ]
