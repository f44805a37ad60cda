"""Options, fallbacks, retries, time limits and rate limits of models."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter

from stategraph import AgentInputs, Fallback, ModelOptions, ModelRetry, ModelTimeouts, RateLimit, RetryPolicy
from stategraph.agent.agent import Route
from stategraph.agent.facts import ModelCall, Place
from stategraph.agent.llm import model_calls, models, rate_limits, retries
from stategraph.errors import ConfigurationError, ModelTimeoutError
from stategraph.run.run import Run
from stategraph.testing import FakeClock, ScriptedChatModel, script
from stategraph.testing.openai_server import FakeOpenAIServer
from tests.agent.recording_listener import RecordingListener

AT = Place("writer", "Writer", "llm", {})
ASKED: list[Any] = [HumanMessage("hi")]
EXACT = ModelRetry(jitter=False)


class ServiceError(Exception):
    """As clients raise it: with a status and a response."""

    def __init__(self, status: int, text: str = "no", **headers: str) -> None:
        super().__init__(text)
        self.status_code = status
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = httpx.Response(status, headers=named)


class APIConnectionError(Exception):
    """As clients raise it where no answer came."""


def never(_: Exception) -> bool:
    return False


def told(clock: FakeClock, *routes: Route) -> tuple[Any, RecordingListener]:
    """What came of a call that a listener is told of."""
    listener = RecordingListener()
    about = ModelCall(AT, "", "", ASKED, 1)
    with clock.for_runs():
        return clock.run(model_calls.tell(routes, about, {}, listener, never)), listener


def route(*replies: Any, name: str = "m", **how: Any) -> Route:
    return Route(ScriptedChatModel(replies=list(replies)), "p", name, **how)


# Which errors.


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ServiceError(429), True),
        (ServiceError(503), True),
        (ServiceError(529), True),
        (ServiceError(408), True),
        (APIConnectionError(), True),
        (httpx.ReadTimeout("slow"), True),
        (ConnectionResetError(), True),
        (ModelTimeoutError("slow"), True),
        (ServiceError(400), False),
        (ServiceError(401), False),
        (ServiceError(404), False),
        (ServiceError(501), False),
        (ServiceError(429, "You exceeded your current quota, please check your plan"), False),
        (ServiceError(429, "Request too large for m on tokens per min (TPM): Limit 30000, Requested 40000"), False),
        (ServiceError(503, x_should_retry="false"), False),
        (ServiceError(400, x_should_retry="true"), True),
        (ValueError("a bug"), False),
        (TimeoutError("of a tool"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, again: bool) -> None:
    assert retries.is_transient(error) is again


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (ServiceError(429, retry_after="7"), 7.0),
        (ServiceError(429, retry_after_ms="250", retry_after="9"), 0.25),
        (ServiceError(429, retry_after="Thu, 01 Jan 1970 00:01:40 GMT"), 60.0),
        (ServiceError(429, retry_after="Thu, 01 Jan 1970 00:00:01 GMT"), 0.0),
        (ServiceError(429, "Rate limit reached. Please try again in 1.5s."), 1.5),
        (ServiceError(429, "Please retry in 250ms"), 0.25),
        (ServiceError(429, retry_after="soon"), None),
        (ServiceError(429), None),
    ],
)
def test_a_provider_says_how_long_to_wait(error: Exception, seconds: float | None) -> None:
    assert retries.retry_after_s(error, now_s=40.0) == seconds


def test_pauses_grow_up_to_a_limit_and_vary_by_chance() -> None:
    policy = ModelRetry(max_attempts=9, initial_interval_s=1, backoff_factor=3, max_interval_s=5, jitter=False)
    error = ServiceError(503)
    pauses = [retries.pause_s(policy, attempt, error, now_s=0, chance=1) for attempt in (1, 2, 3, 9)]
    assert pauses == [1, 3, 5, None]
    varied = policy.model_copy(update={"jitter": True})
    assert retries.pause_s(varied, 2, error, now_s=0, chance=1) == 1.5


# Retries.


def test_a_call_is_repeated_after_the_pause_that_the_provider_asks_for_and_each_is_told() -> None:
    clock = FakeClock()
    with FakeOpenAIServer([script.Failure(429, retry_after_s=7), script.Failure(503), "here"]) as server:
        agent = AgentInputs(
            agent_id="a",
            model="openai:gpt-x",
            model_options=ModelOptions(api_key="sk-test-key", base_url=server.base_url),
            model_retry=EXACT,
        )
        (one,) = models.candidates(agent)
        answer, listener = told(clock, Route(one.model, "openai", "gpt-x", retry=one.retry))
        assert len(server.requests) == 3
    assert answer.content == "here"
    assert clock.sleeps == [7.0, 1.0]
    kinds = listener.kinds()
    assert kinds[:7] == [
        "ModelStarted",
        "ModelFailed",
        "Logged",
        "ModelStarted",
        "ModelFailed",
        "Logged",
        "ModelStarted",
    ]
    first, second = listener.logs("model")
    assert first[0] == "warn"
    assert first[1].startswith("The model 'gpt-x' failed (")
    assert first[1].endswith("RateLimitError, status 429): attempt 2 of 3 in 7.0 s")
    assert first[2]["delayS"] == 7.0
    assert second[1].endswith("Error, status 503): attempt 3 of 3 in 1.0 s")


@pytest.mark.parametrize("way", ["sync", "async"])
def test_graphs_without_a_listener_repeat_calls_too(way: str) -> None:
    clock = FakeClock()
    one = route(script.Failure(503), script.Failure(503), "here", retry=EXACT)
    with clock.for_runs():
        if way == "sync":
            answer = model_calls.call([one], ASKED, {}, never)
        else:
            answer = clock.run(model_calls.acall([one], ASKED, {}, never))
    assert isinstance(answer, AIMessage)
    assert answer.content == "here"
    assert clock.sleeps == [0.5, 1.0]


def test_what_cannot_succeed_is_not_repeated_and_the_next_model_is_tried() -> None:
    clock = FakeClock()
    refusing, other = route(script.Failure(401), retry=EXACT), route("other", name="n")
    answer, listener = told(clock, refusing, other)
    assert answer.content == "other"
    assert clock.sleeps == []
    assert listener.logs("model") == []


def test_each_model_has_its_attempts_and_the_last_error_of_each_counts() -> None:
    clock = FakeClock()
    policy = ModelRetry(max_attempts=2, jitter=False)
    first = route(script.Failure(503, "one"), script.Failure(503, "two"), retry=policy)
    second = route(script.Failure(503, "three"), script.Failure(500, "four"), name="n", retry=policy)
    errors, _ = told(clock, first, second)
    assert [str(each) for each in errors] == ["two", "four"]
    assert clock.sleeps == [0.5, 0.5]


def test_a_pause_that_is_too_long_is_not_waited_for() -> None:
    clock = FakeClock()
    with FakeOpenAIServer([script.Failure(429, retry_after_s=61)]) as server:
        options = ModelOptions(api_key="sk-test-key", base_url=server.base_url)
        agent = AgentInputs(agent_id="a", model="openai:gpt-x", model_options=options, model_retry=EXACT)
        (one,) = models.candidates(agent)
        answer, _ = told(clock, Route(one.model, "openai", "gpt-x", retry=one.retry), route("other"))
    assert answer.content == "other"
    assert clock.sleeps == []


@pytest.mark.parametrize("after_first_token", [False, True])
def test_an_answer_that_has_begun_is_asked_for_again_only_on_request(after_first_token: bool) -> None:
    broken = script.reply("half", script.Fault())
    policy = ModelRetry(jitter=False, after_first_token=after_first_token, retry_on=lambda error: True)
    answer, listener = told(FakeClock(), route(broken, "whole", retry=policy))
    if after_first_token:
        assert answer.content == "whole"
        assert listener.kinds().count("ModelFailed") == 1
    else:
        assert [str(each) for each in answer] == [script.Fault().message]
        assert listener.logs("model") == []


def test_a_decision_that_fails_counts_as_no_and_keeps_the_error_of_the_provider() -> None:
    def bad(error: Exception) -> bool:
        raise KeyError("status")

    policy = ModelRetry(jitter=False, retry_on=bad)
    first, second = (route(script.Failure(503, "busy"), "never", name=name, retry=policy) for name in ("one", "two"))
    (error, other), _ = told(FakeClock(), first, second)
    assert str(error) == str(other) == "busy"
    assert error.__notes__ == [
        "The call is not made again: 'retry_on' of its ModelRetry failed with KeyError: 'status'"
    ]
    answer, _ = told(FakeClock(), route(script.Failure(503, "busy"), retry=policy), route("Fine.", name="two"))
    assert answer.content == "Fine."


def test_the_policy_of_a_node_will_do() -> None:
    agent = AgentInputs(agent_id="a", model="openai:m", model_retry=RetryPolicy(max_attempts=7, retry_on=KeyError))
    assert agent.model_retry is not None
    assert agent.model_retry.max_attempts == 7
    assert retries.pause_s(agent.model_retry, 1, KeyError(), now_s=0, chance=0) == 0.5
    assert retries.pause_s(agent.model_retry, 1, ServiceError(503), now_s=0, chance=0) is None


# Time limits.


def timed(limits: ModelTimeouts, *parts: Any) -> Any:
    clock = FakeClock()
    answer, _ = told(clock, route(script.reply(*parts), timeouts=limits))
    return answer, clock.now()


@pytest.mark.parametrize(
    ("limits", "parts", "said", "after_s"),
    [
        (ModelTimeouts(first_token_s=2), (script.Pause(3), "late"), "did not begin its answer within 2 s", 2),
        (ModelTimeouts(between_tokens_s=2), ("one", script.Pause(3), "two"), "said nothing for 2 s", 2),
        (
            ModelTimeouts(between_tokens_s=2, total_s=3),
            ("one", script.Pause(1.9), "two", script.Pause(1.9), "three"),
            "did not answer within 3 s",
            3,
        ),
    ],
)
def test_a_model_that_takes_too_long_is_stopped(limits: Any, parts: Any, said: str, after_s: float) -> None:
    errors, now = timed(limits, *parts)
    (error,) = errors
    assert isinstance(error, ModelTimeoutError)
    assert said in str(error)
    assert now == pytest.approx(after_s, abs=0.01)


def test_a_model_in_time_is_not_stopped() -> None:
    limits = ModelTimeouts(first_token_s=2, between_tokens_s=2, total_s=6)
    answer, _ = timed(limits, script.Pause(1.9), "one", script.Pause(1.9), "two", script.Pause(1.9), "three")
    assert answer.content == "onetwothree"


def test_an_empty_chunk_is_no_first_token() -> None:
    async def pieces() -> Any:
        yield AIMessageChunk("")
        await asyncio.sleep(3)
        yield AIMessageChunk("late")

    class Empty(ScriptedChatModel):
        def astream(self, *_: Any, **__: Any) -> Any:
            return pieces()

    limits = ModelTimeouts(first_token_s=2, between_tokens_s=9)
    (error,), _ = told(FakeClock(), Route(Empty(replies=[]), "p", "m", timeouts=limits))
    assert "did not begin" in str(error)


def test_a_time_limit_without_a_listener_holds_for_the_whole_and_needs_an_async_run() -> None:
    clock = FakeClock()
    slow = route(script.reply(script.Pause(9), "late"), timeouts=ModelTimeouts(total_s=2))
    with clock.for_runs():
        (error,) = clock.run(model_calls.acall([slow], ASKED, {}, never))
        assert isinstance(error, ModelTimeoutError)
        (error,) = model_calls.call([slow], ASKED, {}, never)
    assert isinstance(error, ConfigurationError)
    assert "ainvoke()" in str(error)


# Rate limits.


def test_calls_wait_for_their_turn_in_order_across_runs_of_a_runtime() -> None:
    clock = FakeClock()
    registry = models.Models()
    limit = RateLimit(requests_per_minute=60, burst=2)
    took: list[float] = []

    async def one() -> None:
        limiter = rate_limits.limiter(limit, "p", "m", registry)
        assert limiter is not None
        await limiter.aacquire()
        took.append(clock.now())

    async def several() -> None:
        await asyncio.gather(*(one() for _ in range(4)))

    with clock.for_runs():
        clock.run(several())
    assert took == pytest.approx([0, 0, 1, 2], abs=0.01)


def test_a_caller_that_is_cancelled_gives_its_turn_back() -> None:
    clock = FakeClock()
    bucket = rate_limits.TokenBucket(RateLimit(requests_per_minute=60))

    async def waits_in_vain() -> None:
        assert await bucket.aacquire()
        waiting = asyncio.ensure_future(bucket.aacquire())
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not await bucket.aacquire(blocking=False)
        await bucket.aacquire()

    with clock.for_runs():
        clock.run(waits_in_vain())
    assert clock.now() == pytest.approx(1, abs=0.01)


def test_models_and_runtimes_have_buckets_of_their_own() -> None:
    registry, limit = models.Models(), RateLimit(requests_per_minute=1)
    found = rate_limits.limiter(limit, "p", "m", registry)
    assert rate_limits.limiter(RateLimit(requests_per_minute=1), "p", "m", registry) is found
    assert rate_limits.limiter(limit, "p", "n", registry) is not found
    assert rate_limits.limiter(limit, "p", "m", models.Models()) is not found
    shared = RateLimit(requests_per_minute=1, key="our account")
    assert rate_limits.limiter(shared, "p", "m", registry) is rate_limits.limiter(shared, "q", "n", registry)


def test_each_attempt_takes_its_turn() -> None:
    clock = FakeClock()
    bucket = rate_limits.TokenBucket(RateLimit(requests_per_minute=6))
    one = route(script.Failure(503), "here", retry=EXACT, limiter=bucket)
    answer, _ = told(clock, one)
    assert answer.content == "here"
    assert clock.now() == pytest.approx(10, abs=0.01)


def test_a_limiter_of_langchain_is_used_as_it_is() -> None:
    limiter = InMemoryRateLimiter(requests_per_second=5)
    agent = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=[]), model_rate_limit=limiter)
    assert models.candidates(agent)[0].limiter is limiter


# What hosts say.


def test_options_are_typed_and_reach_the_client_under_its_names() -> None:
    options = ModelOptions(
        temperature=0.5,
        max_tokens=9,
        stop=("END",),
        api_key="sk-test-key",
        base_url="http://127.0.0.1:9/v1",
        headers={"x-team": "blue"},
        extra={"frequencyPenalty": 0.25},
    )
    agent = AgentInputs(agent_id="a", model="openai:gpt-x", model_options=options)
    (made,) = models.candidates(agent)
    model: Any = made.model
    assert (model.model_name, model.temperature, model.max_tokens, model.stop) == ("gpt-x", 0.5, 9, ["END"])
    assert (model.frequency_penalty, model.default_headers) == (0.25, {"x-team": "blue"})
    assert "sk-test-key" not in repr(agent) + repr(options)


def test_mappings_in_either_spelling_mean_the_same() -> None:
    values = AgentInputs(
        agent_id="a",
        model="openai:gpt-x",
        model_options=ModelOptions(max_tokens=9),
        fallbacks=("anthropic:claude", Fallback(provider="openai", model_options=ModelOptions(model="m"))),
        model_retry=ModelRetry(max_attempts=5),
        model_timeouts=ModelTimeouts(first_token_s=3),
        model_rate_limit=RateLimit(requests_per_minute=4),
    )
    fallbacks: Any = ["anthropic:claude", {"provider": "openai", "modelOptions": {"model": "m"}}]
    camel = {
        "agentId": "a",
        "model": "openai:gpt-x",
        "modelOptions": {"maxTokens": 9},
        "fallbacks": fallbacks,
        "modelRetry": {"maxAttempts": 5},
        "modelTimeouts": {"firstTokenS": 3},
        "modelRateLimit": {"requestsPerMinute": 4},
    }
    snake = {
        "agent_id": "a",
        "model": "openai:gpt-x",
        "model_options": {"max_tokens": 9},
        "fallbacks": fallbacks,
        "model_retry": {"max_attempts": 5},
        "model_timeouts": {"first_token_s": 3},
        "model_rate_limit": {"requests_per_minute": 4},
    }
    assert AgentInputs.of(camel) == AgentInputs.of(snake) == values


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model_options": {"temprature": 1}}, "'model_options.temprature' is not a field.*did you mean 'temperature'"),
        ({"model_retry": {"max_attempts": 0}}, "'model_retry.max_attempts' is 0"),
        ({"model_timeouts": {"total_s": 0}}, "'model_timeouts.total_s' is 0"),
        ({"model_rate_limit": 5}, "is no rate limit; expected RateLimit"),
        ({"fallbacks": "openai:m"}, r"put it into \[ \]"),
        ({"fallbacks": ["m"]}, "a fallback has the model 'm'; expected the form 'provider:model'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AgentInputs.of({"agent_id": "a", "model": "openai:m", **given})


def test_a_ready_model_may_have_fallbacks_and_none_of_the_options() -> None:
    ready, other = ScriptedChatModel(replies=[]), ScriptedChatModel(replies=[])
    found = models.candidates(AgentInputs(agent_id="a", model=ready, fallbacks=(other,)))
    assert [each.model for each in found] == [ready, other]
    with pytest.raises(ConfigurationError, match="both a ready model and client options"):
        AgentInputs.of({"agent_id": "a", "model": ready, "model_options": {"temperature": 1}})


def test_fallbacks_of_the_client_options_come_last_and_both_kinds_inherit_the_policies() -> None:
    key = {"api_key": "sk-test-key"}
    agent = AgentInputs(
        agent_id="a",
        provider="openai",
        client_options={
            "model": "one",
            **key,
            "fallbacks": [{"provider": "openai", "clientOptions": {"model": "c", **key}}],
        },
        fallbacks=(Fallback(model="openai:b", client_options=key, timeouts=ModelTimeouts(total_s=1)),),
        model_retry=ModelRetry(max_attempts=2),
        model_timeouts=ModelTimeouts(total_s=9),
    )
    found = models.candidates(agent)
    assert [each.name for each in found] == ["one", "b", "c"]
    assert [each.retry for each in found] == [agent.model_retry] * 3
    assert [each.timeouts and each.timeouts.total_s for each in found] == [9, 1, 9]


@pytest.mark.parametrize(("options", "left"), [({}, 0), ({"max_retries": 4}, 4)])
def test_the_client_repeats_nothing_if_the_policy_does_unless_it_is_told_to(options: Any, left: int) -> None:
    given = {"api_key": "sk-test-key", **options}
    agent = AgentInputs(agent_id="a", model="openai:m", client_options=given, model_retry=ModelRetry())
    (made,) = models.candidates(agent)
    assert made.model.max_retries == left  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_run_tells_of_its_retries_and_closes_the_steps_of_attempts_that_failed() -> None:
    logged: list[Any] = []
    agent = AgentInputs(
        agent_id="a",
        model=ScriptedChatModel(replies=[script.Failure(503), "Here."]),
        model_retry=ModelRetry(initial_interval_s=0),
    )
    handlers = {"on_agent_log": lambda event, data, *_: logged.append(data)}
    run = await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, "custom_handlers": handlers})
    steps: dict[str, str] = {}
    async for event in run.stream({"messages": [("user", "hi")]}):
        if event.event == "on_run_step":
            steps[event.data["id"]] = "open"
        if event.event == "on_run_step_closed":
            steps[event.data["id"]] = event.data["status"]
    assert [message.content for message in run.get_run_messages()] == ["Here."]
    assert [row["message"] for row in logged if row["scope"] == "model"] == [
        "The model 'scripted' failed (ScriptedModelError, status 503): attempt 2 of 3 in 0.0 s"
    ]
    assert "open" not in steps.values()
