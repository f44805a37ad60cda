"""Streaming: state updates, a node's own progress and a model's tokens, in one ordered stream.

Prints::

    custom   {'progress': 'asking'}
    messages 'The '
    messages 'answer '
    messages 'is '
    messages '42.'
    updates  {'ask': {'answer': 'The answer is 42.'}}
    updates  {'shout': {'answer': 'THE ANSWER IS 42.'}}
    values   {'question': 'What is it?', 'answer': 'THE ANSWER IS 42.'}
"""

from typing import TypedDict

from stategraph import END, START, StateGraph, StreamWriter
from stategraph.testing import ScriptedChatModel

model = ScriptedChatModel(replies=["The answer is 42."])


class Question(TypedDict):
    question: str


class Answer(TypedDict, total=False):
    answer: str


class State(Question, Answer):
    pass


def ask(state: State, writer: StreamWriter) -> Answer:
    writer({"progress": "asking"})
    return {"answer": model.invoke(state["question"]).text}


def shout(state: State) -> Answer:
    return {"answer": state.get("answer", "").upper()}


graph = (
    StateGraph(State)
    .add_node(ask)
    .add_node(shout)
    .add_edge(START, "ask")
    .add_edge("ask", "shout")
    .add_edge("shout", END)
    .compile()
)

last: State | None = None
for mode, data in graph.stream({"question": "What is it?"}, stream_mode=["custom", "messages", "updates", "values"]):
    if mode == "messages":
        token, _metadata = data
        if token.text:
            print(f"messages {token.text!r}")
    elif mode == "values":
        last = data
    else:
        print(f"{mode:<8} {data}")
print(f"values   {last}")
