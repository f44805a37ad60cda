"""Errors by which callbacks refuse a call: raised as they are, and without a warning or a change of any logger."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler

from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.refusals import refusing
from stategraph.errors import GraphInterrupt
from stategraph.governance.errors import BudgetExceeded
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Interrupt

ERRORS: list[Exception] = [
    LimitReachedError("model_calls", 1, 1),
    BudgetExceeded("The budget is used up", unit="tokens", cap=5, spent=6),
    GraphInterrupt((Interrupt("more?", id="i"),)),
]


class Refusing(BaseCallbackHandler):
    raise_error = True
    run_inline = False

    def __init__(self, error: Exception) -> None:
        self.error = error

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        with refusing(LimitReachedError, BudgetExceeded, GraphInterrupt):
            raise self.error


class RefusingLater(AsyncCallbackHandler, Refusing):
    async def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        with refusing(LimitReachedError, BudgetExceeded, GraphInterrupt):
            raise self.error


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [Refusing, RefusingLater])
@pytest.mark.anyio
async def test_the_error_itself_is_raised_and_nothing_is_warned_of(
    error: Exception, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = ScriptedChatModel(replies=["Hi."])
    with pytest.raises(type(error)) as raised:
        await model.ainvoke("hi", {"callbacks": [kind(error)]})
    assert raised.value is error and type(raised.value) is type(error)
    if kind is Refusing:
        with pytest.raises(type(error)) as raised:
            model.invoke("hi", {"callbacks": [kind(error)]})
        assert raised.value is error
    assert caplog.records == []


def test_other_errors_are_warned_of_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        ScriptedChatModel(replies=["Hi."]).invoke("hi", {"callbacks": [Refusing(ZeroDivisionError("x"))]})
    assert [each.getMessage() for each in caplog.records] == [
        "Error in Refusing.on_chat_model_start callback: ZeroDivisionError('x')"
    ]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_where_nobody_asks_for_its_repr_it_means_the_same(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, refusing(type(error)):
        raise error
    carrier = raised.value
    assert isinstance(carrier, type(error)) and carrier.args == error.args and str(carrier) == str(error)
    assert all(getattr(carrier, name) == value for name, value in vars(error).items())


def test_no_filter_is_added_to_the_logger_of_langchain() -> None:
    code = (
        "import logging, stategraph.governance.budget.part, stategraph.run.runtime, stategraph.agent.limits.errors;"
        "print([logging.getLogger(n).filters for n in ('langchain_core', 'langchain_core.callbacks.manager')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[[], []]\n"
