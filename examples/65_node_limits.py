"""A fan-out that asks each provider no more often than it allows, and the others meanwhile.

Prints::

    12 answers, at most 2 at a time of openai, at most 2 of mistral
    without limits: at most 12 at a time
"""

import asyncio
from collections import Counter
from operator import add
from typing import Annotated, Any, TypedDict

from stategraph import START, NodeLimits, Send, StateGraph


class Question(TypedDict):
    provider: str
    text: str


class State(TypedDict):
    questions: list[Question]
    answers: Annotated[list[str], add]


now: Counter[str] = Counter()
most: Counter[str] = Counter()


async def ask(question: Question) -> dict[str, Any]:
    for each in (question["provider"], "all"):
        now[each] += 1
        most[each] = max(most[each], now[each])
    await asyncio.sleep(0.01)  # the model
    now.subtract([question["provider"], "all"])
    return {"answers": [f"answer to {question['text']}"]}


def fan_out(state: State) -> list[Send]:
    return [Send("ask", each) for each in state["questions"]]


def graph(limits: NodeLimits | None) -> Any:
    builder = (
        StateGraph(State).add_node("plan", lambda state: {}).add_node("ask", ask, input_schema=Question, limits=limits)
    )
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", fan_out, ["ask"])
    return builder.compile()


async def main() -> None:
    questions = [{"provider": ("openai", "mistral")[number % 2], "text": str(number)} for number in range(12)]
    limits = NodeLimits(concurrency=2, rate=50, per_s=1, key=lambda question: question["provider"])
    result = await graph(limits).ainvoke({"questions": questions, "answers": []})
    told = f"at most {most['openai']} at a time of openai, at most {most['mistral']} of mistral"
    print(f"{len(result['answers'])} answers, {told}")
    most.clear()
    await graph(None).ainvoke({"questions": questions, "answers": []})
    print(f"without limits: at most {most['all']} at a time")


asyncio.run(main())
