"""Whose turn it is: a pure function of the step."""

from dataclasses import dataclass

from freelm.config import InteractionConfig


@dataclass(frozen=True, slots=True)
class Turn:
    """What one optimizer step does.

    Attributes:
        language: How many language steps came before, if this step has the language signal.
        teacher: How many teacher steps came before, if this step has the teacher signal.
    """

    language: int | None
    teacher: int | None

    @property
    def name(self) -> str:
        """`language`, `teacher` or `both`."""
        if self.language is None:
            return "teacher"
        return "language" if self.teacher is None else "both"


def turn(interaction: InteractionConfig, step: int) -> Turn:
    """The turn of a step (counted from 0)."""
    num_language, num_teacher = interaction.language_steps, interaction.teacher_steps
    match interaction.kind:
        case "language_only":
            return Turn(step, None)
        case "teacher_only":
            return Turn(None, step)
        case "mixed":
            return Turn(step, step)
        case "sequential":
            if step < num_language:
                return Turn(step, None)
            return Turn(None, step - num_language)
        case "alternate":
            rounds, place = divmod(step, num_language + num_teacher)
            if place < num_language:
                return Turn(rounds * num_language + place, None)
            return Turn(None, rounds * num_teacher + place - num_language)
