"""The rows of `policies` on the engine of agent-os-kernel, in an environment that has it; prints JSON.

Its rules compare one field with one value, and it stops at the first that matches; ours are the same conditions in CEL,
all of which are evaluated for the record.
"""

from __future__ import annotations

import json
import sys

from agent_os.policies.evaluator import PolicyEvaluator
from agent_os.policies.schema import PolicyAction, PolicyCondition, PolicyDocument, PolicyOperator, PolicyRule

from benchmarks.governance.rows import microseconds

CONTEXT = {"tool_name": "refund", "cents": 100}


def evaluator(number: int) -> PolicyEvaluator:
    """Return an evaluator of rules of which the last one matches."""
    rules = [
        PolicyRule(
            name=f"r{n}",
            condition=PolicyCondition(
                field="cents", operator=PolicyOperator.EQ, value=100 if n == number - 1 else -n - 1
            ),
            action=PolicyAction.ALLOW,
        )
        for n in range(number)
    ]
    return PolicyEvaluator([PolicyDocument(name="p", rules=rules)])


def main() -> None:
    """Measure and print."""
    rounds, found = int(sys.argv[1]), {}
    for number, name in ((1, "decide, 1 rule"), (100, "decide, 100 rules, all evaluated")):
        asked = evaluator(number)
        assert asked.evaluate(CONTEXT).matched_rule == f"r{number - 1}"
        found[name] = microseconds(lambda asked=asked: asked.evaluate(CONTEXT), rounds)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
