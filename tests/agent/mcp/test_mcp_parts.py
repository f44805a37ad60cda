"""Descriptions, names and delays: what is decided without a server."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.agent.mcp import HttpServer, McpSessions, McpTimeout, StdioServer
from stategraph.agent.mcp.names import visible_names
from stategraph.agent.mcp.slots import backoff_s
from stategraph.errors import ConfigurationError

SECRET = "s3cret-value"


@pytest.mark.parametrize(
    "described",
    [
        StdioServer(command="serve", args=[SECRET], env={"KEY": SECRET}),
        HttpServer(url=f"https://u:{SECRET}@host/mcp?key={SECRET}", headers={"authorization": SECRET}),
    ],
    ids=("stdio", "http"),
)
def test_a_description_shows_no_secret(described: StdioServer | HttpServer) -> None:
    assert SECRET not in f"{described!r} {described} {described.where} {[described]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--api-key", SECRET],
        [f"--api-key={SECRET}"],
        ["run", "-e", f"GITHUB_TOKEN={SECRET}", "image"],
        [f"--env=GITHUB_TOKEN={SECRET}"],
        ["--header", f"Authorization: Bearer {SECRET}"],
        ["-H", f"X-Gateway: {SECRET}"],
        [f"--header=X-Gateway: {SECRET}"],
        [f"https://u:{SECRET}@host/"],
    ],
)
def test_secrets_are_found_among_arguments_however_they_are_written(arguments: list[str]) -> None:
    assert StdioServer(command="serve", args=arguments).secrets.text(SECRET) == "[redacted]"


def test_arguments_that_are_no_secrets_are_none() -> None:
    assert not StdioServer(command="serve", args=["--zone=Europe/Berlin", "--port", "808080", "name: a value"]).secrets


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"args": []}, "neither a `command` to start nor a `url` to reach"),
        ({"command": "x", "environment": {"K": SECRET}}, "'environment' is not a field of StdioServer"),
        ({"command": ""}, "StdioServer: 'command' is empty, expected at least 1 character"),
        ({"command": "x", "env": [SECRET]}, "StdioServer: 'env' is a value of type list, expected a mapping"),
        ({"command": "x", "connectTimeoutS": 0}, "'connectTimeoutS' is a value of type int, expected greater than 0"),
        ({"url": f"ftp://{SECRET}"}, "'url': an address of the form https://host/path is expected"),
        ({"url": "http://host", "headers": {"a": f"{SECRET}\n"}}, "value of 'a' has characters that no header can"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:20],
)
def test_a_wrong_description_is_refused_by_name_and_without_its_values(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match="MCP server 'broken'") as caught:
        McpSessions({"broken": wrong})
    assert said in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"


def test_both_spellings_describe_the_same() -> None:
    snake = HttpServer.model_validate({"url": "http://host", "call_timeout_s": None, "type": "streamable-http"})
    camel = HttpServer.model_validate({"url": "http://host", "callTimeoutS": None, "type": "streamable-http"})
    assert snake == camel


def test_a_name_that_is_there_once_is_kept_and_one_that_clashes_gets_its_server() -> None:
    assert visible_names([("git", "search"), ("web", "search"), ("web", "fetch")]) == {
        ("git", "search"): "git_search",
        ("web", "search"): "web_search",
        ("web", "fetch"): "fetch",
    }


def test_a_name_is_made_acceptable_to_model_providers() -> None:
    assert visible_names([("s", "weather.today/now")]) == {("s", "weather.today/now"): "weather_today_now"}


WORDS = st.text("ab_.", min_size=1, max_size=3) | st.text("a", min_size=60, max_size=70)


@given(st.sets(st.tuples(WORDS, WORDS), max_size=8), st.booleans())
def test_names_are_different_acceptable_and_independent_of_order(tools: set[tuple[str, str]], prefix: bool) -> None:
    names = visible_names(tools, prefix=prefix)
    assert names.keys() == tools
    assert len(set(names.values())) == len(tools)
    assert all(0 < len(name) <= 64 and name.replace("_", "a").isalnum() for name in names.values())
    assert visible_names(sorted(tools), prefix=prefix) == names


def test_a_digest_tells_names_apart_that_would_be_the_same_and_is_the_same_everywhere() -> None:
    clashing = [("a", "b_c"), ("a_b", "c"), ("d", "c")]
    assert visible_names(clashing, prefix=True) == {
        ("a", "b_c"): "a_b_c_6dcf7f82",
        ("a_b", "c"): "a_b_c_f0daffac",
        ("d", "c"): "d_c",
    }
    # Where one name is free, it is nobody else's; and of a long one as much is kept as is allowed.
    long = [("s" * 40, "t" * 40 + end) for end in "ab"]
    names = visible_names(long)
    assert sorted(len(name) for name in names.values()) == [41, 41]
    digested = visible_names(long, prefix=True)
    assert {len(name) for name in digested.values()} == {64}
    assert {name[:55] for name in digested.values()} == {"s" * 40 + "_" + "t" * 14}


def test_attempts_wait_twice_as_long_each_time_up_to_a_bound() -> None:
    assert [backoff_s(failures) for failures in (0, 1, 2, 3, 50)] == [0.0, 0.1, 0.2, 0.4, 2.0]


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(McpTimeout("too late", server="one")))
    assert (type(error), str(error), error.server) == (McpTimeout, "too late", "one")


def test_describing_servers_loads_no_mcp() -> None:
    code = (
        "import sys, stategraph.agent.mcp as m; m.McpSessions({'one': {'command': 'x'}});"
        "print([name for name in sys.modules if name.startswith(('mcp', 'starlette'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_mcp_package_the_error_says_what_to_install() -> None:
    code = (
        "import asyncio, sys; sys.modules['mcp'] = None\n"
        "from stategraph.agent.mcp import McpSessions\n"
        "async def main():\n"
        "    async with McpSessions({'one': {'command': 'x'}}) as sessions:\n"
        "        await sessions.tools()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "MissingPackageError: A session with an MCP server needs the package" in done.stderr
    assert "pip install 'stategraph[mcp]'" in done.stderr


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (None, "MCP server 'x' is None; expected a StdioServer, an HttpServer, or a mapping with a `command`"),
        ({"comand": "c"}, "a `url` to reach; 'comand' is not known, did you mean 'command'?"),
        ({"command": "c", "args": "b"}, "'args' is a value of type str, expected a list"),
        ({"command": "c", "evn": {}}, "'evn' is not a field of StdioServer; did you mean 'env'?"),
    ],
)
def test_a_wrong_description_is_refused_in_a_sentence(described: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        McpSessions({"x": described})
    assert said in str(raised.value)


def test_servers_without_names_are_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="a mapping from names to descriptions; found list"):
        McpSessions(cast("Any", [{"command": "c"}]))
