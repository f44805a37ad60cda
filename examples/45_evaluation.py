"""Evaluate an agent against a table of cases: several attempts at each, evaluators, a judge, a threshold.

The models here are scripted; with real ones, the program is the same.

Prints::

    case           passed  tokens      cost
    refund         3 of 3     135  $0.00011
    opening hours  2 of 3      45  $0.00004
    small talk     3 of 3      45  $0.00004
    opening hours: Contains: '9 am' is not in 'We open at ten.'
    8 of 9 attempts passed, 75% wanted: True
"""

from collections import Counter

from langchain_core.messages import ToolMessage

from stategraph import AgentInputs, ModelPrice, Prices
from stategraph.testing import Case, Contains, LLMJudge, Script, ScriptedChatModel, ToolCalled, call, evaluate, reply

asked: Counter[str] = Counter()


def find_order(number: int) -> str:
    """Find an order by its number."""
    return f"order {number}: paid"


def answers(request):
    """A model that is wrong about the hours, one time in three."""
    if isinstance(request.messages[-1], ToolMessage):
        return reply("You get your money back for order 7.", usage=(20, 5))
    text = request.messages[-1].text
    asked[text] += 1
    if "refund" in text:
        return reply(call("find_order", number=7), usage=(15, 5))
    if "open" in text:
        return reply("We open at ten." if asked[text] == 2 else "We open at 9 am.", usage=(10, 5))
    return reply("You are welcome!", usage=(10, 5))


def judges(request):
    """A model that judges."""
    return '{"reason": "It is friendly.", "score": 0.9}'


agent = AgentInputs(
    agent_id="support",
    model=ScriptedChatModel(replies=Script([answers], repeat_last=True)),
    tools=[find_order],
)
cases = [
    Case("I want a refund for order 7.", name="refund", evaluators=[ToolCalled("find_order", {"number": 7})]),
    Case("When do you open?", name="opening hours", evaluators=[Contains("9 am")], tags=["facts"]),
    Case("Thanks!", name="small talk", evaluators=[LLMJudge("The answer is friendly.")]),
]
prices = Prices(models=(ModelPrice(model="scripted", input=0.8, output=1.0),), known=False)
report = evaluate(
    agent,
    cases,  # or a file: "cases.jsonl"
    evaluators=[lambda outcome: len(outcome.text) < 200],
    judge=ScriptedChatModel(replies=Script([judges], repeat_last=True)),
    prices=prices,
    repetitions=3,
    max_concurrency=2,
    threshold=0.75,
)

for line in str(report).splitlines()[: len(cases) + 1]:
    print(line.rpartition("  ")[0].rstrip())  # without the time
for result in report.cases:
    for reason in result.reasons:
        print(f"{result.case.name}: {reason}")
passed = sum(each.passes for each in report.cases)
print(f"{passed} of {report.attempts} attempts passed, {report.threshold:.0%} wanted: {report.passed}")
