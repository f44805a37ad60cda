"""Questions to a person, and their answers.

- `tool_approval`: a person approves a call, rejects it, edits its arguments or responds in its place, each call for
  itself, in the order of the requests or by their ids.
- `ask_user_question`: a tool asks, the answer is what its question returns.
- `mcp_elicitation`: an MCP server asks, see `stategraph.agent.mcp.elicitation`.
- `limit_reached`: a limit of the run is reached, and a person raises it or ends the turn, see
  `stategraph.agent.limits.questions`.
- An answer that does not fit is refused before anything is written; the question stays open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

from pydantic import AfterValidator

from stategraph.agent.limits.questions import LIMIT_REACHED
from stategraph.agent.limits.questions import check_answer as check_limit_answer
from stategraph.agent.mcp import elicitation
from stategraph.agent.settings import validation
from stategraph.agent.settings.field_types import Flag
from stategraph.agent.settings.validation import Settings
from stategraph.engine.checkpoints import serializability
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import ConfigurationError, InvalidAnswerError

TOOL_APPROVAL = "tool_approval"
ASK_USER_QUESTION = "ask_user_question"

#: Decisions that a person may make about a call.
ReviewWord: TypeAlias = Literal["approve", "reject", "edit", "respond"]
REVIEWS: tuple[ReviewWord, ...] = get_args(ReviewWord)
#: Questions that may be asked at once.
MOST_QUESTIONS = 4


# Decisions about calls.


class Approve(Settings):
    """The call runs."""

    type: Literal["approve"] = "approve"


class Reject(Settings):
    """The call does not run; the model is told why."""

    type: Literal["reject"] = "reject"
    reason: str | None = None


class Edit(Settings):
    """The call runs with other arguments."""

    type: Literal["edit"] = "edit"
    updated_input: dict[str, Any]


class Respond(Settings):
    """The call does not run; this is its result."""

    type: Literal["respond"] = "respond"
    response_text: str


Review: TypeAlias = Approve | Reject | Edit | Respond

_KINDS: Mapping[str, type[Settings]] = {"approve": Approve, "reject": Reject, "edit": Edit, "respond": Respond}


def read_decisions(payload: Mapping[str, Any], answer: object) -> dict[str, Review]:
    """Read a person's decisions about the calls of a `tool_approval`.

    Args:
        payload: The question.
        answer: A list of decisions in the order of the requests, a mapping of decisions by call id, or, for one
            request, a decision. Also `{"decisions": [...]}`, and decisions with `message` and `edited_action`, as
            LangChain's human-in-the-loop middleware takes them.

    Returns:
        The decisions by call id.

    Raises:
        InvalidAnswerError: A decision is missing, unknown, not allowed or incomplete.
    """
    allowed = {each["tool_call_id"]: each["allowed_decisions"] for each in payload["review_configs"]}
    names = {each["tool_call_id"]: each["name"] for each in payload["action_requests"]}
    given = _by_call(names, answer)
    missing, unknown = [each for each in names if each not in given], [each for each in given if each not in names]
    if missing or unknown:
        raise InvalidAnswerError(
            "; ".join(
                ([f"no decision about {', '.join(missing)}"] if missing else [])
                + ([f"decisions about {', '.join(map(str, unknown))}, which do not wait"] if unknown else [])
            )
            + f". Tool calls that wait for approval: {_named(names)}"
        )
    return {each: _decision(each, names[each], given[each], allowed.get(each, REVIEWS)) for each in names}


def _by_call(names: Mapping[str, str], answer: object) -> Mapping[str, object]:
    """Return the decisions of an answer by the ids of calls, in whichever form they were given.

    Args:
        names: The names of the tools by the ids of the calls.
        answer: The answer.

    Raises:
        InvalidAnswerError: It has another form, or not one decision for each call.
    """
    ids = list(names)
    if isinstance(answer, Mapping) and answer.keys() == {"decisions"} and "decisions" not in names:
        answer = answer["decisions"]
    if isinstance(answer, Mapping) and (len(ids) != 1 or ids[0] in answer):
        return answer
    if isinstance(answer, Mapping | Settings) and len(ids) == 1:
        return {ids[0]: answer}
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        if len(answer) == len(ids):
            return dict(zip(ids, answer, strict=True))
        raise InvalidAnswerError(
            f"{len(ids)} tool calls wait for approval ({_named(names)}), and {len(answer)} decisions were given; "
            "give one for each, in this order, or a mapping from the ids of the calls to decisions"
        )
    raise InvalidAnswerError(
        f"The answer to a tool approval is {type(answer).__name__}; expected a list of decisions like "
        f"{{'type': 'approve'}}, or a mapping from the ids of the calls to them. Calls: {_named(names)}"
    )


def _named(names: Mapping[str, str]) -> str:
    return ", ".join(f"{call_id} ({name})" for call_id, name in names.items())


def _decision(call_id: str, name: str, given: object, allowed: Sequence[str]) -> Review:
    about = f"The decision about the call {call_id} of '{name}'"
    word = given.get("type") if isinstance(given, Mapping) else getattr(given, "type", None)
    if not isinstance(word, str) or word not in allowed:
        found = repr(word) if word is not None else f"of type {type(given).__name__} without a 'type'"
        raise InvalidAnswerError(f"{about} is {found}; allowed: {', '.join(allowed)}")
    try:
        return cast("Review", validation.checked(_KINDS[word], _as_ours(about, name, word, given)))
    except ConfigurationError as error:
        raise InvalidAnswerError(f"{about} is incomplete: {error}") from None


_LANGCHAIN: Mapping[str, str] = {"reject": "reason", "respond": "response_text"}
"""The fields that LangChain calls `message`, by the decision."""


def _as_ours(about: str, name: str, word: str, given: object) -> object:
    """Return a decision that is spelled as LangChain's middleware spells it with the names of this package.

    Raises:
        InvalidAnswerError: It edits the name of the tool: another tool is another call.
    """
    if not isinstance(given, Mapping):
        return given
    if "message" in given and word in _LANGCHAIN:
        return {("type" if key == "type" else _LANGCHAIN[word]): each for key, each in given.items()}
    edited = given.get("edited_action")
    if word != "edit" or not isinstance(edited, Mapping):
        return given
    if edited.get("name", name) != name:
        raise InvalidAnswerError(f"{about} edits its tool to {edited['name']!r}; only its arguments can be edited")
    return {"type": "edit", "updated_input": edited.get("args")}


# Questions of tools.


class QuestionOption(Settings):
    """An answer to choose.

    Attributes:
        label: The text that is shown.
        value: The value of the answer.
        description: Its meaning.
    """

    label: str
    value: str
    description: str | None = None


class Question(Settings):
    """A question to a person.

    Attributes:
        question: The question.
        description: More about it.
        options: Answers to choose from; none: any text.
        multi_select: Whether several may be chosen.
        id: By which the answer is told from others, if several questions are asked at once.
        header: A short title.
    """

    question: str
    description: str | None = None
    options: tuple[QuestionOption, ...] = ()
    multi_select: Flag = False
    id: str | None = None
    header: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the question in the spelling of the wire, without unset fields."""
        return self.model_dump(by_alias=True, exclude_defaults=True, mode="json")


def ask_user_question(
    question: str | Question | Mapping[str, Any] | Sequence[Question | Mapping[str, Any]],
    *,
    tool_call_id: str | None = None,
) -> dict[str, Any]:
    """Ask a person, from inside a tool. The run pauses; when it goes on, the tool runs again and this returns.

    Args:
        question: A text, a question as a value or in either spelling, or two to four of them, each with an id.
        tool_call_id: The call that asks, to be shown with the question.

    Returns:
        `{"answer": ...}`, or for several questions their answers by id.

    Raises:
        GraphInterrupt: There is no answer yet. Do not catch it.
        ConfigurationError: The question makes no sense.
    """
    several = isinstance(question, Sequence) and not isinstance(question, str)
    asked = list(cast("Sequence[Any]", question)) if several else [question]
    read = [validation.checked(Question, {"question": each} if isinstance(each, str) else each) for each in asked]
    payload: dict[str, Any] = {"type": ASK_USER_QUESTION}
    if several:
        ids = [each.id for each in read]
        if not 1 <= len(read) <= MOST_QUESTIONS or None in ids or len(set(ids)) != len(ids):
            raise ConfigurationError(
                f"{len(read)} questions with the ids {ids} were asked at once; expected one to {MOST_QUESTIONS}, each "
                "with a unique id"
            )
        payload["questions"] = [each.as_json() for each in read]
    payload["question"] = {key: value for key, value in read[0].as_json().items() if key not in ("id", "header")}
    if tool_call_id is not None:
        payload["tool_call_id"] = tool_call_id
    return cast("dict[str, Any]", ask(payload, read_answers))


def read_answers(payload: Mapping[str, Any], answer: object) -> dict[str, Any]:
    """Read a person's answers to an `ask_user_question`.

    Args:
        payload: The question.
        answer: `{"answer": ...}` or a text; for several questions a mapping from their ids to answers.

    Returns:
        `{"answer": ...}`, or the answers by id.

    Raises:
        InvalidAnswerError: An answer is missing.
    """
    questions = payload.get("questions")
    if questions is None:
        if isinstance(answer, str):
            return {"answer": answer}
        if isinstance(answer, Mapping) and "answer" in answer:
            return dict(answer)
        expected = "{'answer': ...} or a text"
    else:
        ids = [each["id"] for each in questions]
        if isinstance(answer, Mapping) and set(ids) <= set(answer):
            return dict(answer)
        expected = f"a mapping with answers to {', '.join(ids)}"
    found = f"a mapping with {list(answer)}" if isinstance(answer, Mapping) else type(answer).__name__
    raise InvalidAnswerError(f"The answer to {payload['question']['question']!r} is {found}; expected {expected}")


_READERS: Mapping[str, Callable[[Mapping[str, Any], Any], Any]] = {
    TOOL_APPROVAL: read_decisions,
    ASK_USER_QUESTION: read_answers,
    elicitation.MCP_ELICITATION: elicitation.check,
    LIMIT_REACHED: check_limit_answer,
}


def check_answer(payload: Any, answer: object) -> None:
    """See whether an answer fits what was asked; questions of other kinds take any answer that can be stored.

    Raises:
        InvalidAnswerError: It does not.
    """
    if serializability.has_large_integer(answer):
        raise InvalidAnswerError(
            "The answer has a whole number of more than 64 bits, which cannot be stored; expected one from -2**63 to "
            "2**64 - 1, or a text"
        )
    kind = payload.get("type") if isinstance(payload, Mapping) else None
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is not None:
        reader(payload, answer)


def ask(payload: Mapping[str, Any], read: Callable[[Mapping[str, Any], Any], Any]) -> Any:
    """Wait for an answer that fits; one that does not is not used up.

    Args:
        payload: The question, as JSON.
        read: Turns the payload and an answer into the return value, or raises ValueError.

    Raises:
        GraphInterrupt: There is no answer yet.
    """
    return interrupt(dict(payload), response_schema=Annotated[Any, AfterValidator(partial(read, payload))])
