"""The questions that may be asked beside a prediction, in the order in which they are answered."""

from __future__ import annotations

from ..progress import Progress
from .asked import Answer, Asked, Question
from .more_sequences import more_sequences
from .plans.question import answer_plans, answer_without_plan

QUESTIONS: tuple[Question, ...] = (more_sequences, answer_without_plan, answer_plans)


def answers_of(asked: Asked, progress: Progress) -> dict[str, Answer]:
    """The answers to all that the request asks, by name; whatever a question raises goes on."""
    found = (question(asked, progress) for question in QUESTIONS)
    return {answer.name: answer for answer in found if answer is not None}
