"""A graph whose processes are killed by signals at random points: it comes to the same state, but it may charge twice.

Prints::

    survived 3 trials: {'order': '7', 'done': ['checked 7', 'approved by Ada']}
    each had a kill: True
    found: The effect 'charge' happened 2 times, expected 1
"""

import sys
from pathlib import Path

from stategraph.testing import DivergedError, fuzz_signals

sys.path.insert(0, str(Path(__file__).parent))  # processes import the graphs beside this program, as it would

report = fuzz_signals("order_graph:builder", {"order": "7", "done": []}, answers=["Ada"], trials=3, seed=1, seconds=600)
print(f"survived {report.trials} trials: {report.state}")
print(f"each had a kill: {sum(report.kills.values()) >= report.trials}")

try:
    fuzz_signals("billing_graph:builder", {"order": 7}, trials=100, seed=2, most_kills=1, once=["charge"], seconds=600)
except DivergedError as error:
    print(f"found: {str(error).splitlines()[1]}")
