"""Fixtures of the test kit for pytest, which finds them by the entry point `pytest11`.

    scripted_model   makes chat models that answer by a script
    fake_openai      starts servers with OpenAI's HTTP API, to which the environment points while the test runs
    fake_clock       an event loop in which hours take no time
    counted_ids      ids that are the same in every run

Loading this module imports neither the engine nor LangChain: a fixture does, when a test asks for it. A fixture of the
same name in a `conftest.py` wins over one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stategraph.testing import CountedIds, FakeClock, FakeOpenAIServer, ScriptedChatModel

#: Whether a test was left by an exception: it has failed, or was skipped.
_WAS_LEFT = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Keep how a test ended, for fixtures that check something after it."""
    if call.when == "call":
        item.stash[_WAS_LEFT] = call.excinfo is not None


@pytest.fixture
def scripted_model(request: pytest.FixtureRequest) -> Iterator[Callable[..., ScriptedChatModel]]:
    """Make chat models of replies, `scripted_model("Hello.", reply(call("search")))`.

    A test that has passed fails at its end if a script has replies that nobody asked for.
    """
    from stategraph.testing import Script, ScriptedChatModel

    made: list[tuple[ScriptedChatModel, int]] = []

    def make(*replies: Any, **settings: Any) -> ScriptedChatModel:
        model = ScriptedChatModel(replies=Script.of(list(replies)), **settings)
        made.append((model, len(replies)))
        return model

    yield make
    if request.node.stash.get(_WAS_LEFT, False):  # the test failed, and so asked for less
        return
    for model, number in made:
        if len(model.requests) < number:
            pytest.fail(
                f"a scripted model was asked {len(model.requests)} times and has {number} replies: the program asked "
                "it less often than the test expects"
            )


@pytest.fixture
def fake_openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeOpenAIServer]]:
    """Start servers of replies, `fake_openai("Hello.")`, on 127.0.0.1; the environment points to the newest one."""
    from stategraph.testing import FakeOpenAIServer

    with ExitStack() as started:

        def start(*replies: Any, **settings: Any) -> FakeOpenAIServer:
            server = started.enter_context(FakeOpenAIServer(list(replies), **settings))
            monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
            monkeypatch.setenv("OPENAI_API_KEY", "none")
            return server

        yield start


@pytest.fixture
def fake_clock() -> FakeClock:
    """Return a clock in whose event loop waiting takes no time; runs under `fake_clock.for_runs()` ask it too."""
    from stategraph.testing import FakeClock

    return FakeClock(1_700_000_000)


@pytest.fixture
def counted_ids() -> CountedIds:
    """Return ids for runs that are compared with earlier ones."""
    from stategraph.testing import CountedIds

    return CountedIds()


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain where two recordings of events begin to differ; results of `StreamRecorder.stable` are recordings too."""
    if op != "==" or not isinstance(left, list) or not isinstance(right, list):
        return None
    if not (left or right) or not all(_is_event(each) for each in (*left, *right)):
        return None
    from stategraph.testing.differences import explain

    return explain(left, right)


def _is_event(value: object) -> bool:
    """Return whether this is a recorded event, also in its stable form; the test kit need not be there for that."""
    if isinstance(value, dict):
        return value.keys() == {"mode", "ns", "payload"}
    return type(value).__name__ == "Recorded"
