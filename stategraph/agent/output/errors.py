"""The error of an agent that gives no valid output."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage

from stategraph.errors import ModelAnswerError


class OutputError(ModelAnswerError):
    """An agent's model gave no output of the agent's type, and has been told so as often as `output_retries` says.

    Attributes:
        agent_id: The agent.
        answer: The last answer.
        problems: What was wrong with it, a sentence each.
        tries: How many answers were not valid.
    """

    agent_id: str
    answer: AIMessage | None
    problems: tuple[str, ...]
    tries: int

    def __init__(
        self,
        message: str,
        *,
        agent_id: str = "",
        answer: AIMessage | None = None,
        problems: Sequence[str] = (),
        tries: int = 0,
    ) -> None:
        """Report an output that is not valid.

        Args:
            message: The sentence.
            agent_id: The agent.
            answer: The last answer.
            problems: What was wrong with it.
            tries: How many answers were not valid.
        """
        super().__init__(message)
        self.agent_id = agent_id
        self.answer = answer
        self.problems = tuple(problems)
        self.tries = tries
