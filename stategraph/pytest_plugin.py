"""Fixtures of the test kit for pytest, which finds them by the entry point `pytest11`.

    scripted_model   makes chat models that answer by a script
    fake_openai      starts servers with OpenAI's HTTP API, to which the environment points while the test runs
    fake_clock       an event loop in which hours take no time
    counted_ids      ids that are the same in every run
    evaluate_case    evaluates a program on the `case` of a test that is marked with `evaluation_cases`

Loading this module imports neither the engine nor LangChain: a fixture does, when a test asks for it. A fixture of the
same name in a `conftest.py` wins over one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stategraph.testing import CaseResult, CountedIds, FakeClock, FakeOpenAIServer, ScriptedChatModel

#: Whether a test was left by an exception: it has failed, or was skipped.
_WAS_LEFT = pytest.StashKey[bool]()


#: The marker of tests that are run once for each case of a table.
_CASES = "evaluation_cases"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{_CASES}(source, *, tags=()): run the test for each case of a list or a file, as its argument 'case'; a file "
        "is looked for in the folder of the test (stategraph.testing)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked with cases once for each of them."""
    marker = metafunc.definition.get_closest_marker(_CASES)
    if marker is None or "case" not in metafunc.fixturenames:
        return
    from stategraph.testing.evaluation.cases import cases_of

    def find(source: Any, *, tags: Any = ()) -> Any:
        path = metafunc.definition.path.parent / source if isinstance(source, str) else source
        return cases_of(path, tags=tags)

    try:
        found = find(*marker.args, **marker.kwargs)
    except (OSError, TypeError, ValueError) as error:
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: {_CASES}: {error}") from None
    metafunc.parametrize("case", found, ids=[each.name for each in found])


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


@pytest.fixture
def evaluate_case(request: pytest.FixtureRequest) -> Callable[..., CaseResult]:
    """Evaluate a program on a case, `evaluate_case(agent, case, repetitions=3, threshold=0.6)`, and return the result.

    The test fails if fewer attempts pass than the threshold wants. JUnit's XML gets the pass rate, tokens, cost and
    time as properties of the test. The arguments are those of `stategraph.testing.evaluate`.
    """
    from stategraph.testing.evaluation import evaluate

    def evaluate_one(target: Any, case: Any, **options: Any) -> CaseResult:
        __tracebackhide__ = True
        report = evaluate(target, [case], **options)
        (result,) = report.cases
        for name in ("pass_rate", "duration_s", "total_tokens", "cost"):
            request.node.user_properties.append((name, result.as_json()[name]))
        report.check()
        return result

    return evaluate_one


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
