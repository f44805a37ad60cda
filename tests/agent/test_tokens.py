"""Token counts: with a tokeniser, without one, and of everything that a message can be made of."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiktoken
import tiktoken.load
import tiktoken.registry
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from stategraph.agent.context import tokens
from stategraph.agent.context.tokens import MessageCounter
from stategraph.agent.settings.inputs import ToolDefinition
from stategraph.errors import ConfigurationError

VOCABULARIES = Path(__file__).parents[2] / ".cache" / "tiktoken"
#: Counts characters, so that a test can say what was counted.
CHARS = MessageCounter(len, approximate=True, encoding="o200k_base")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, nothing loaded, and a network that nobody may use."""

    def fetch(address: str) -> bytes:
        raise AssertionError(f"fetched {address}")

    monkeypatch.setattr(tiktoken.load, "read_file", fetch)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokeniser that knows the letters and one pair, as if OpenAI's had been loaded."""
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
    for name in ("o200k_base", "cl100k_base"):
        encoding = tiktoken.Encoding(name, pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={"<|end|>": 300})
        monkeypatch.setitem(tiktoken.registry.ENCODINGS, name, encoding)


def said(content: Any, count: MessageCounter = CHARS) -> int:
    """What the content of a message costs."""
    return count(HumanMessage(content)) - 3


# Which tokeniser.


@pytest.mark.usefixtures("pairs")
def test_a_vocabulary_that_is_there_counts_exactly() -> None:
    counter = tokens.token_counter_for("gpt-4o")
    assert not counter.approximate
    assert counter.encoding == "o200k_base"
    assert said("abab x<|end|>", counter) == 4 + len("<|end|>"), "marks in a text are text"


@pytest.mark.usefixtures("pairs")
@pytest.mark.parametrize(
    ("model", "encoding", "approximate"),
    [
        ("gpt-4o-mini", "o200k_base", False),
        ("openai:gpt-4o", "o200k_base", False),
        ("openai/gpt-5-nano", "o200k_base", False),
        ("gpt-4-0613", "cl100k_base", False),
        ("gpt-oss-120b", "o200k_base", False),
        ("claude-sonnet-4-5", "claude", True),
        ("anthropic/Claude-3-opus", "claude", True),
        ("mistral-large", "o200k_base", True),
        ("text-davinci-003", "o200k_base", True),
        ("", "o200k_base", True),
    ],
)
def test_a_counter_says_whose_tokens_it_counts(model: str, encoding: str, approximate: bool) -> None:
    counter = tokens.token_counter_for(model)
    assert (counter.encoding, counter.approximate) == (encoding, approximate)


def test_without_a_vocabulary_a_counter_estimates_and_says_so() -> None:
    counter = tokens.token_counter_for("gpt-4o")
    assert counter.approximate
    assert said("four", counter) == 1


def test_a_file_with_the_wrong_content_is_neither_used_nor_fetched_again(offline: Path) -> None:
    file = offline / "fb374d419588a4632f3f557e76b4b70aebbca790"
    file.write_bytes(b"IQ== 0\n")
    assert tokens.token_counter_for("gpt-4o").approximate
    assert file.exists()


def test_a_cache_that_is_switched_off_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert tokens.token_counter_for("gpt-4o").approximate


@pytest.mark.parametrize("variable", ["DATA_GYM_CACHE_DIR", None])
def test_the_cache_is_found_where_tiktoken_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None
) -> None:
    content = b"".join(b"%s %d\n" % (each, rank) for rank, each in enumerate([b"IQ==", b"Ig=="]))
    monkeypatch.setitem(tokens._SHA256, "o200k_base", hashlib.sha256(content).hexdigest())  # type: ignore[arg-type]
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    folder = tmp_path / "data-gym-cache"
    folder.mkdir()
    (folder / "fb374d419588a4632f3f557e76b4b70aebbca790").write_bytes(content)
    if variable is None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    else:
        monkeypatch.setenv(variable, str(folder))
    assert tokens._is_at_hand("o200k_base")


def test_a_vocabulary_is_fetched_only_when_allowed() -> None:
    with pytest.raises(AssertionError, match=r"fetched https://.*/o200k_base\.tiktoken"):
        tokens.token_counter_for("gpt-4o", download=True)


def test_an_unknown_vocabulary_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'p99k' is not known; known are cl100k_base, claude, o200k_base"):
        tokens.create_token_counter("p99k")


@pytest.fixture(scope="module")
def loaded() -> dict[str, tiktoken.Encoding]:
    """What tiktoken has loaded so far, kept between tests because it takes half a second."""
    return {}


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch, loaded: dict[str, tiktoken.Encoding]) -> None:
    """The published vocabularies."""
    if not VOCABULARIES.is_dir():
        pytest.skip("needs `make vocabulary`")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(VOCABULARIES))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", loaded)


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(
    ("text", "newest", "older"),
    [
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("2 + 2 = 4", 7, 7),
        ("お誕生日おめでとう", 8, 9),
    ],
)
def test_real_vocabularies_count_as_published(text: str, newest: int, older: int) -> None:
    counters = [tokens.token_counter_for(model) for model in ("gpt-4o", "gpt-4")]
    assert [said(text, counter) for counter in counters] == [newest, older]
    assert [counter.approximate for counter in counters] == [False, False]


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(
    "text",
    [
        "Payment failed because the card was declined by the issuing bank; please try again later.",
        "Платёж не прошёл, потому что банк отклонил карту. Пожалуйста, попробуйте ещё раз позже.",
        "支付失败。发卡银行拒绝了该卡。请稍后再试。今天的天气很好。我们去公园散步吧。",
        "カードが発行銀行によって拒否されたため、支払いに失敗しました。後でもう一度お試しください。",
        "카드가 발급 은행에서 거부되어 결제에 실패했습니다. 나중에 다시 시도해 주세요.",
        '{"city":"Paris","temperature":21.5,"conditions":["sunny","windy"],"id":"call_8f3a91bc"}',
    ],
)
def test_an_estimate_is_within_a_half_of_the_truth(text: str) -> None:
    truth = said(text, tokens.token_counter_for("gpt-4o"))
    assert truth * 0.67 <= tokens.estimate(text) <= truth * 1.5


def test_tiktoken_is_not_imported_before_somebody_counts() -> None:
    code = "import sys, stategraph.agent.context.tokens; print('tiktoken' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# Estimates.


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("a", 1), ("abcde", 2), ("漢字漢字漢", 4), ("🎉", 1), ("привет", 3), ("a漢я", 2)]
)
def test_an_estimate_knows_wide_characters(text: str, count: int) -> None:
    assert tokens.estimate(text) == count


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_an_estimate_grows_with_the_text(text: str, more: str) -> None:
    assert tokens.estimate(text) <= tokens.estimate(text + more) <= tokens.estimate(text) + tokens.estimate(more)


# Messages.


def test_a_message_is_what_it_says_and_a_few_tokens_more() -> None:
    assert CHARS(SystemMessage("")) == 3
    assert CHARS(HumanMessage("12345")) == 3 + 5
    assert CHARS(HumanMessage("12345", name="bob")) == 3 + 5 + 1 + 3


def test_calls_are_their_names_and_arguments() -> None:
    calls = [{"id": "c1", "name": "look", "args": {"q": 1}}]
    assert CHARS(AIMessage("", tool_calls=calls)) == 3 + len("look") + len('{"q":1}')
    empty = [{"id": None, "name": None, "args": None, "error": None, "type": "invalid_tool_call"}]
    assert CHARS(AIMessage("", invalid_tool_calls=empty)) == 3
    broken = [{"id": "c1", "name": "look", "args": '{"q":', "error": None, "type": "invalid_tool_call"}]
    assert CHARS(AIMessage("", invalid_tool_calls=broken)) == 3 + len("look") + len('{"q":')


def test_a_call_that_is_in_the_content_too_counts_once() -> None:
    calls = [{"id": "c1", "name": "look", "args": {"q": 1}}]
    blocks = [{"type": "text", "text": "Hm."}, {"type": "tool_use", "id": "c1", "name": "look", "input": {"q": 1}}]
    assert CHARS(AIMessage(blocks, tool_calls=calls)) == 3 + len("Hm.") + len("look") + len('{"q":1}')


def test_a_result_is_its_content() -> None:
    assert CHARS(ToolMessage("sunny", tool_call_id="c1", name="look")) == 3 + len("sunny") + 1 + len("look")


@pytest.mark.parametrize(
    ("block", "cost"),
    [
        ("12345", 5),
        ({"type": "text", "text": "12345"}, 5),
        ({"type": "thinking", "thinking": "12345", "signature": "s" * 99}, 5),
        ({"type": "reasoning", "reasoning": "12345"}, 5),
        ({"type": "think", "think": "12345"}, 5),
        ({"type": "text-plain", "text": "12345", "mime_type": "text/plain"}, 5),
        ({"type": "odd", "x": 1}, len('{"type":"odd","x":1}')),
        ({"x": 1}, len('{"x":1}')),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 9999}}, 1105),
        ({"type": "image_url", "image_url": "https://x/y.png"}, 1105),
        ({"type": "image_url", "image_url": {"url": "u", "detail": "low"}}, 85),
        ({"type": "input_image", "image_url": "u", "detail": "low"}, 85),
        ({"type": "image", "base64": "A" * 9999, "mime_type": "image/png"}, 1105),
        ({"type": "media", "mime_type": "image/png", "data": "A" * 9999}, 1105),
        ({"type": "file", "base64": "A" * 100, "mime_type": "application/pdf"}, 1500),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64," + "A" * 149_972}}, 3000),
        ({"type": "document", "source": {"type": "base64", "data": "A" * 150_000}}, 3000),
        ({"type": "document", "source": {"type": "text", "data": "12345"}}, 5),
        ({"type": "file", "file_id": "f"}, 2000),
        ({"type": "media", "mime_type": "application/pdf", "data": "A" * 150_000}, 3000),
        ({"type": "input_audio", "input_audio": {"data": "A" * 210_000, "format": "mp3"}}, 320),
        ({"type": "audio", "url": "u"}, 960),
        ({"type": "media", "mimeType": "video/mp4", "data": "A" * 333_000}, 300),
        ({"type": "media", "mimeType": "video/mp4", "data": "A" * 666_000}, 600),
        ({"type": "media", "mimeType": "video/mp4", "data": "A" * 666_001}, 601),
        ({"type": "media", "mimeType": "audio/ogg", "data": "A" * 42_000}, 64),
        ({"type": "media", "mimeType": "audio/ogg", "data": "A" * 42_001}, 65),
        ({"type": "media", "mimeType": "audio/ogg", "data": "A"}, 32),
        ({"type": "media", "mimeType": "text/plain", "data": "A" * 80_000}, 1600),
        ({"type": "media", "data": "A" * 80_001}, 1601),
        ({"type": "media"}, 2000),
        ({"type": "computer_screenshot", "file_id": "f"}, 1105),
        ({"type": "image_file", "file_id": "f"}, 1105),
        ({"type": "input_file", "file_id": "f"}, 2000),
        ({"type": "video_url", "video_url": {"url": "u"}}, 9000),
        ({"type": "reasoning_content", "reasoning_content": "12345"}, 5),
        ({"type": "reasoning", "reasoning": ["1"]}, len('{"type":"reasoning","reasoning":["1"]}')),
        ({"type": "text", "text": ""}, 0),
        ({"type": "tool_use", "id": None}, len('{"type":"tool_use","id":null}')),
        ({"type": "video", "url": "u"}, 9000),
    ],
)
def test_a_block_costs_its_text_its_media_or_its_json(block: Any, cost: int) -> None:
    assert said([block]) == cost


def test_claude_counts_more_tokens_and_its_own_price_of_images() -> None:
    claude = MessageCounter(len, approximate=True, encoding="claude")
    assert claude(HumanMessage("1234567")) == 12
    assert claude(HumanMessage([{"type": "image", "base64": "A"}])) == 1924
    assert claude(HumanMessage([{"type": "media", "mime_type": "image/png"}])) == 1924
    assert claude(HumanMessage([{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}])) == 106


# Tools.


@tool
def get_weather(city: str) -> str:
    """weather"""
    return city


def quarter(message: BaseMessage) -> int:
    """The counter of the recordings."""
    assert isinstance(message.content, str)
    return 3 + -(-len(message.content) // 4)


DEFINITION = ToolDefinition(name="look", description="Look.", parameters={"type": "object", "properties": {}})


def test_a_tool_costs_what_was_recorded() -> None:
    assert tokens.tool_schema_tokens([get_weather], quarter, "openAI") == tokens.ToolTokens(48, {"get_weather": 48})


@pytest.mark.parametrize(
    ("provider", "model", "factor"),
    [
        ("openAI", "gpt-4o", 1.4),
        ("anthropic", "", 2.6),
        ("openrouter", "anthropic/claude-3", 2.6),
        ("bedrock", "anthropic.claude-3", 1.4),
    ],
)
def test_descriptions_cost_more_with_anthropic(provider: str, model: str, factor: float) -> None:
    def hundred(message: BaseMessage) -> int:
        return 100

    assert tokens.tool_schema_tokens([DEFINITION], hundred, provider, model).total == 100 * factor


def test_every_way_to_describe_a_tool_is_counted_under_its_name() -> None:
    def plain(x: int) -> int:
        """A function."""
        return x

    web = {"type": "web_search"}
    raw = {"type": "function", "function": {"name": "raw"}}
    anthropic = {"name": "theirs", "input_schema": {}}
    counted = tokens.tool_schema_tokens([get_weather, DEFINITION, plain, web, raw, anthropic], quarter, "openAI")
    assert list(counted.by_name) == ["get_weather", "look", "plain", "web_search", "raw", "theirs"]
    parameters = '{"type":"object","properties":{}}'
    shown = f'{{"type":"function","function":{{"name":"look","description":"Look.","parameters":{parameters}}}}}'
    alone = tokens.tool_schema_tokens([DEFINITION], quarter, "openAI").total
    assert alone == -(-(3 + -(-len(shown) // 4)) * 14 // 10)


def test_of_two_tools_with_a_name_the_first_counts() -> None:
    long = ToolDefinition(name="look", description="x" * 999)
    both = tokens.tool_schema_tokens([DEFINITION, long], quarter, "openAI")
    assert both == tokens.tool_schema_tokens([DEFINITION], quarter, "openAI")


def test_no_tools_cost_nothing() -> None:
    assert tokens.tool_schema_tokens([], quarter, "openAI") == tokens.ToolTokens(0, {})


@given(st.lists(st.integers(1, 500), min_size=1, max_size=9), st.sampled_from(["openAI", "anthropic"]))
def test_the_shares_of_tools_add_up(counts: list[int], provider: str) -> None:
    left = iter(counts)
    definitions = [ToolDefinition(name=f"t{number}") for number in range(len(counts))]
    take: Callable[[BaseMessage], int] = lambda message: next(left)  # noqa: E731
    counted = tokens.tool_schema_tokens(definitions, take, provider)
    assert sum(counted.by_name.values()) == counted.total
    assert all(
        abs(share - counts[int(name[1:])] * (2.6 if provider == "anthropic" else 1.4)) <= 1
        for name, share in counted.by_name.items()
    )


@pytest.mark.parametrize(
    ("total", "counts", "factor", "shares"),
    [
        (0, {}, 2.0, {}),
        (6, {"a": 1, "b": 2}, 2.0, {"a": 2, "b": 4}),
        (5, {"a": 1, "b": 2}, 1.5, {"a": 2, "b": 3}),
        (4, {"a": 1, "b": 1}, 1.9, {"a": 2, "b": 2}),
        (3, {"a": 1, "b": 1}, 1.5, {"a": 2, "b": 1}),
        (5, {"a": 11, "b": 14, "c": 15}, 0.1, {"a": 1, "b": 2, "c": 2}),
        (4, {"a": 11, "b": 14, "c": 15}, 0.1, {"a": 1, "b": 1, "c": 2}),
    ],
)
def test_what_rounding_leaves_over_goes_to_those_that_lost_most(
    total: int, counts: dict[str, int], factor: float, shares: dict[str, int]
) -> None:
    assert tokens.shared_out(total, counts, factor) == shares
