"""The event stream: one run, read through several projections, one of them written here.

Prints::

    length  0
    run     research started
    answer  'Water boils at 100 °C.'
    run     research completed
    length  22
    answer  'At sea level, that is.'
    length  45
    output  Water boils at 100 °C. At sea level, that is.
"""

from typing import Any, TypedDict

from stategraph import END, START, ProtocolEvent, StateGraph, StreamChannel, StreamTransformer
from stategraph.testing import ScriptedChatModel

model = ScriptedChatModel(replies=["Water boils at 100 °C.", "At sea level, that is."])


class State(TypedDict, total=False):
    text: str


class Lengths(StreamTransformer):
    """Shows how long the text of a run is, whenever it has changed."""

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self.lengths = StreamChannel[int]()

    def init(self) -> dict[str, Any]:
        return {"lengths": self.lengths}

    def process(self, event: ProtocolEvent) -> bool:
        params = event["params"]
        if event["method"] == "values" and params["namespace"] == list(self.scope):
            self.lengths.push(len(params["data"].get("text", "")))
        return True


def ask(state: State) -> State:
    return {"text": f"{state.get('text', '')} {model.invoke('How hot?').text}".strip()}


inner = StateGraph(State).add_node(ask).add_edge(START, "ask").compile()
graph = (
    StateGraph(State)
    .add_node("research", inner)
    .add_node("check", ask)
    .add_edge(START, "research")
    .add_edge("research", "check")
    .add_edge("check", END)
    .compile()
)

with graph.stream_events({"text": ""}, version="v3", transformers=[Lengths]) as run:
    for name, item in run.interleave("subgraphs", "messages", "lengths", "lifecycle"):
        if name == "subgraphs":
            for message in item.messages:  # reading a nested run pulls the whole run
                print(f"answer  {message.output.text!r}")
        elif name == "messages":
            print(f"answer  {item.output.text!r}")
        elif name == "lengths":
            print(f"length  {item}")
        else:
            print(f"run     {item['namespace'][0].partition(':')[0]} {item['event']}")
    print(f"output  {run.output['text']}")
