"""Usage of calls of models that failed or were stopped: as much as their streams had said until then.

Some providers report what they read with the first piece of an answer, others everything with the last one. A call that
failed before it was answered took nothing; what one took that was stopped then, nobody knows.
"""

from __future__ import annotations

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGenerationChunk, LLMResult


def answer_of(response: object, error: BaseException) -> AIMessage | None:
    """Return as much of an answer as there is, with its usage if that was said; None: the call took nothing.

    Args:
        response: As LangChain tells it with the error of a model: the pieces, merged.
        error: What ended the call.
    """
    generations = response.generations if isinstance(response, LLMResult) else []
    first = generations[0][0] if generations and generations[0] else None
    if isinstance(first, ChatGenerationChunk) and isinstance(first.message, AIMessage):
        return first.message
    return None if isinstance(error, Exception) else AIMessage("")
