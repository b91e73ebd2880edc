"""The questions that may be asked beside a prediction, in the order in which they are answered."""

from __future__ import annotations

from ..progress import Progress
from .asked import Answer, Asked, Question
from .more_sequences import more_sequences
from .plans.question import answer_plans, answer_without_plan
from .shift_answer import how_it_moves
from .time_series import how_it_heals
from .uncertainty.question import how_sure
from .uncertainty.similarity import how_similar

QUESTIONS: tuple[Question, ...] = (
    how_similar,
    how_it_moves,
    more_sequences,
    how_sure,
    answer_without_plan,
    answer_plans,
    how_it_heals,
)


def answers_of(asked: Asked, progress: Progress) -> dict[str, Answer]:
    """The answers to all that the request asks, by name; whatever a question raises goes on."""
    found = (question(asked, progress) for question in QUESTIONS)
    return {answer.name: answer for answer in found if answer is not None}
