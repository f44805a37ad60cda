"""What LangChain says of a call that a limit keeps from beginning: loggers of other packages are left as they are."""

from __future__ import annotations

import subprocess
import sys


def test_no_filter_is_added_to_the_logger_of_langchain() -> None:
    code = (
        "import logging, stategraph.governance.budget.part, stategraph.run.runtime, stategraph.agent.limits.errors;"
        "print([logging.getLogger(n).filters for n in ('langchain_core', 'langchain_core.callbacks.manager')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[], []]\n"
