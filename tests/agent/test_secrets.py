"""What was given as a secret, in every form in which it could be shown."""

from __future__ import annotations

import gzip
import itertools
import json
import pickle
import traceback
from base64 import b64encode
from typing import Any, NamedTuple

import httpx
import pytest
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from stategraph.agent.settings.secrets import RedactedError, Secrets, in_address, in_options, shown_address, texts_in

KEY = "sk-0123456789"


@pytest.mark.parametrize(
    "options",
    [
        {"apiKey": KEY},
        {"api_key": SecretStr(KEY)},
        {"configuration": {"defaultHeaders": {"x-gateway": KEY}}},
        {"default_headers": {"Authorization": f"Bearer {KEY}"}},
        {"headers": [("x", KEY)]},
        {"awsSecretAccessKey": KEY},
        {"credentials": {"accessKeyId": "a", "nested": [{"anything": KEY}]}},
        {"baseURL": f"https://user:{KEY}@host/v1"},
        {"base_url": f"https://{KEY}@host/v1"},
        {"proxy": {"address": f"https://host/v1?token={KEY}&x=1"}},
        {"fallbacks": [{"provider": "openAI", "client_options": {"openAIApiKey": KEY}}]},
        {"some_token": KEY.encode()},
    ],
)
def test_secrets_are_found_wherever_options_have_them(options: dict[str, Any]) -> None:
    assert KEY not in Secrets(in_options(options)).text(f"it said {KEY}!")


def test_options_that_only_sound_like_secrets_are_none() -> None:
    options = {
        "maxTokens": 5,
        "reasoning_key": "reasoning_content",
        "model": "a-model-name",
        "url": "https://host/path",
    }
    assert not Secrets(in_options(options))


def test_options_that_contain_themselves_end() -> None:
    around: dict[str, Any] = {"api_key": KEY}
    around["self"], around["headers"] = around, around
    secrets = Secrets(in_options(around))
    assert secrets.text(KEY) == "[redacted]"
    assert secrets.value(around)["api_key"] == "[redacted]"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"{KEY}\n", f"Illegal header value {f'Bearer {KEY}'.encode()!r}"),
        (f"{KEY}\n", f"Illegal header value {f'Bearer {KEY}{chr(10)}'.encode()!r}"),
        (f"Bearer {KEY}", f"wrong token {KEY}"),
        (f"-----BEGIN-----\n{KEY}\n-----END-----", f"line 2: {KEY}"),
        ('quo"ted\\secret', '{"key": "quo\\"ted\\\\secret"}'),
        ("pass word&more", "https://host/?key=pass+word%26more"),
        ("pass word&more", "https://host/?key=pass%20word%26more"),
        ("schlüssel", "b'schl\\xc3\\xbcssel'"),
        (f"postgres://me:{KEY}@host/db", f"cannot connect to postgresql://me:{KEY}@host:5432/db"),
        (json.dumps({"type": "account", "private_key": f"BEGIN\n{KEY}"}), f"no such key: BEGIN\n{KEY}"),
        (f"theme=dark; session={KEY}", f"unknown session {KEY}"),
        ("Basic bWU6cGFzcyB3b3JkJm1vcmU=", "no login of me with 'pass word&more'"),
    ],
)
def test_a_secret_is_found_in_the_forms_that_other_code_writes_it_in(given: str, shown: str) -> None:
    hidden = Secrets([given]).text(shown)
    assert "[redacted]" in hidden
    assert not any(part in hidden for part in (KEY, "quo", "pass", "schl"))


def test_an_address_is_shown_without_what_may_be_secret_in_it() -> None:
    address = "https://user:p%40ssword@host:8080/v1?token=0123456#part"
    assert shown_address(address) == "https://host:8080/v1"
    secrets = Secrets(in_address(address))
    # The last is how the two are sent.
    assert secrets.text("p@ssword 0123456 dXNlcjpwQHNzd29yZA==") == " ".join(["[redacted]"] * 3)
    assert list(in_address("http://[broken")) == list(in_address("a text")) == []
    assert shown_address("http://[broken") == "an address that cannot be read"


@pytest.mark.parametrize("given", ['{"private_key": ', "[sk-0123456789]", "[" * 100_000], ids=["cut", "list", "deep"])
def test_a_secret_that_only_begins_like_json_is_hidden_as_it_is(given: str) -> None:
    assert Secrets([given]).text(f"no such key: {given}!") == "no such key: [redacted]!"


def test_a_value_is_not_searched_where_there_are_no_secrets() -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    assert Secrets().value(value) is value
    error = ValueError(value)
    assert Secrets().error(error) is error
    assert error.args[0] is value


def test_short_texts_stay() -> None:
    assert Secrets(["k", "12345"]).text("k 12345") == "k 12345"
    assert Secrets(["123456"]).text("a 123456") == "a [redacted]"


def test_secrets_are_joined_and_the_longest_are_hidden_first() -> None:
    joined = Secrets([KEY]) | Secrets([f"{KEY}-and-more", "another-secret"])
    assert joined.text(f"{KEY} {KEY}-and-more another-secret") == "[redacted] [redacted] [redacted]"
    assert (Secrets() | Secrets([KEY])).text(KEY) == (Secrets([KEY]) | Secrets()).text(KEY) == "[redacted]"
    assert not Secrets() | Secrets()
    assert Secrets([f"{KEY}-and-more", KEY]).text(f"{KEY}-and-more") == "[redacted]"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (f"said {KEY}", "said [redacted]"),
        (f"said {KEY}".encode(), b"said [redacted]"),
        ([KEY, 1], ["[redacted]", 1]),
        ((KEY, 1.5), ("[redacted]", 1.5)),
        ({KEY}, {"[redacted]"}),
        (frozenset({KEY, "a"}), frozenset({"[redacted]", "a"})),
        ({KEY: 1}, {"[redacted]": 1}),
        ({"a": {"b": [(KEY,)]}}, {"a": {"b": [("[redacted]",)]}}),
    ],
)
def test_secrets_in_a_value_are_hidden_wherever_they_are(value: Any, shown: Any) -> None:
    hidden = Secrets([KEY]).value(value)
    assert hidden == shown
    assert type(hidden) is type(value)


@pytest.mark.parametrize("value", [None, True, 7, 1.5, "a", b"a\xff", [1, "a"], (), {"a"}, {"a": None}, object()])
def test_a_value_without_a_secret_stays_the_same_object(value: Any) -> None:
    assert Secrets([KEY]).value(value) is value


def test_a_tuple_with_names_stays_as_it_is() -> None:
    class Pair(NamedTuple):
        left: str
        right: str

    pair = Pair(KEY, "a")
    assert Secrets([KEY]).value([pair])[0] is pair


@pytest.mark.parametrize(
    "secret", ["Basic no base64!", "Basic bWU6/w==", "basic bWU6cGFzcyB3b3JkJm1vcmU=", "Basicbut not"]
)
def test_what_only_begins_like_a_login_is_hidden_as_it_is(secret: str) -> None:
    assert Secrets([secret]).text(f"said {secret}!") == "said [redacted]!"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("https://me:pass%20word@host/p", {"pass%20word", "pass word", "bWU6cGFzcyB3b3Jk"}),
        ("https://only-name@host/p", {"only-name", b64encode(b"only-name:").decode()}),
        ("https://:pass@host/p", {"pass", b64encode(b":pass").decode()}),
        ("https://host/p?a=1&b=two%20words&c=", {"1", "two words"}),
        ("https://host/p", set()),
        ("me:pass@host?a=1", set()),
        ("//me:pass@host?a=1", set()),
        ("https:/path?a=1", set()),
        ("mailto:me@host?a=1", set()),
    ],
)
def test_the_secret_parts_of_an_address_are_found(address: str, found: set[str]) -> None:
    assert set(in_address(address)) == found


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", ["a"]),
        (b"a", ["a"]),
        (SecretStr("a"), ["a"]),
        (SecretBytes(b"a"), ["a"]),
        (["a", ("b", {"k": "c"}), 7, None], ["a", "b", "c"]),
        (7, []),
        ({"a"}, []),
    ],
)
def test_the_texts_of_a_secret_value_are_found(value: Any, texts: list[str]) -> None:
    assert list(texts_in(value)) == texts
    assert list(in_options({"api_key": value})) == texts


def test_nothing_is_copied_that_has_no_secret_in_it() -> None:
    value = {"a": ["b", ("c",)], "d": 1}
    assert Secrets([KEY]).value(value) is value
    assert Secrets([KEY]).value({**value, KEY: [KEY, 2]}) == {**value, "[redacted]": ["[redacted]", 2]}


class Stubborn(Exception):
    """An error whose text is made of what nobody else can change."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"stubborn {KEY}"


class Number(BaseModel):
    key: int


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Number.model_validate({"key": KEY})
    return caught.value


def chain(error: BaseException | None) -> list[BaseException]:
    if error is None:
        return []
    inner = [found for one in getattr(error, "exceptions", ()) for found in chain(one)]
    return [error, *inner, *chain(error.__cause__), *chain(error.__context__)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError(f"said {KEY}"),
        lambda: ValueError({"headers": [KEY, KEY.encode()]}),
        lambda: OSError(2, f"no {KEY}", KEY),
        lambda: UnicodeEncodeError("ascii", f"Bearer {KEY}é", 7, 8, "ordinal not in range"),
        Stubborn,
        invalid,
        lambda: ExceptionGroup(f"all {KEY}", [ValueError(KEY), ExceptionGroup("inner", [Stubborn(), KeyError(KEY)])]),
    ],
)
@pytest.mark.parametrize("place", ["itself", "cause", "context", "note"])
def test_an_error_leaves_a_guarded_block_without_secrets(make: Any, place: str) -> None:
    def fail() -> None:
        match place:
            case "itself":
                raise make()
            case "cause":
                raise RuntimeError("above") from make()
            case "context":
                try:
                    raise make()
                except Exception:
                    raise RuntimeError("above") from None
            case _:
                error = RuntimeError("above")
                error.add_note(f"noted: {make()!r} {KEY}")
                raise error

    guard = Secrets([KEY]).guard()
    for _ in range(2):  # a guard may be used again
        with pytest.raises((RuntimeError, Exception)) as caught, guard:
            fail()
        texts = [text for each in chain(caught.value) for text in (str(each), repr(each), str(vars(each)))]
        texts.append("".join(traceback.format_exception(caught.value)))
        assert not any(KEY in text for text in texts)
        if place != "itself":
            assert type(caught.value) is RuntimeError


def test_an_error_keeps_its_class_where_its_text_can_be_changed() -> None:
    error = KeyError(KEY)
    assert Secrets([KEY]).error(error) is error
    assert error.args == ("[redacted]",)
    stood_for = Secrets([KEY]).error(Stubborn())
    assert type(stood_for) is RedactedError
    assert str(stood_for) == "Stubborn: stubborn [redacted]"
    assert str(pickle.loads(pickle.dumps(stood_for))) == str(stood_for)


def test_errors_that_lead_back_to_themselves_end() -> None:
    first, second = ValueError(KEY), ValueError(KEY)
    first.__cause__, second.__cause__ = second, first
    assert Secrets([KEY]).error(first) is first
    assert KEY not in f"{first} {second}"


def test_a_chain_of_errors_may_be_long() -> None:
    errors = [ValueError(f"{KEY} {number}") for number in range(5_000)]
    for error, before in itertools.pairwise(errors):
        error.__context__ = before
    assert Secrets([KEY]).error(errors[0]) is errors[0]
    assert [str(error) for error in errors] == [f"[redacted] {number}" for number in range(5_000)]


def test_the_members_of_a_group_that_cannot_be_changed_are_stood_for() -> None:
    inner = ExceptionGroup("inner", [Stubborn(), ValueError(KEY)])
    shown = Secrets([KEY]).error(ExceptionGroup("outer", [inner, KeyError(1)]))
    assert isinstance(shown, ExceptionGroup)
    assert [type(each) for each in shown.exceptions] == [ExceptionGroup, KeyError]
    assert repr(shown.exceptions[0]) == (
        "ExceptionGroup('inner', [RedactedError('Stubborn: stubborn [redacted]'), ValueError('[redacted]')])"
    )


def test_an_error_is_shown_with_what_it_came_from_as_before() -> None:
    def failed(suppressed: bool) -> ValueError:
        try:
            raise KeyError(KEY)
        except KeyError as inner:
            error = ValueError(KEY)
            error.__context__, error.__suppress_context__ = inner, suppressed
            return error

    for suppressed in (False, True):
        shown = Secrets([KEY]).error(failed(suppressed))
        assert shown.__suppress_context__ is suppressed
        assert shown.__cause__ is None
        assert repr(shown.__context__) == "KeyError('[redacted]')"
        with pytest.raises(ValueError, match="redacted") as caught, Secrets([KEY]).guard():
            raise failed(suppressed)
        assert caught.value.__suppress_context__ is suppressed
    cause = RuntimeError(KEY)
    error = Stubborn()
    error.__cause__ = cause
    assert Secrets([KEY]).error(error).__cause__ is cause


def test_what_stands_for_an_error_says_where_it_was_raised() -> None:
    with pytest.raises(Stubborn) as caught:
        raise Stubborn
    shown = Secrets([KEY]).error(caught.value)
    assert shown is not caught.value
    assert shown.__traceback__ is caught.value.__traceback__ is not None


def test_a_text_that_could_not_be_encoded_is_not_kept_with_its_error() -> None:
    shown = Secrets([KEY]).error(UnicodeEncodeError("ascii", f"Bearer {KEY}é", 20, 21, "ordinal not in range"))
    assert isinstance(shown, RedactedError)
    other = UnicodeEncodeError("ascii", "Bearer é", 7, 8, "ordinal not in range")
    assert Secrets([KEY]).error(other) is other


def test_a_guard_lets_pass_what_is_no_failure() -> None:
    guard = Secrets([KEY]).guard()
    with guard:
        pass
    with pytest.raises(KeyboardInterrupt, match=KEY), guard:
        raise KeyboardInterrupt(KEY)


def test_a_group_is_made_again_only_where_one_of_its_errors_is_stood_for() -> None:
    group = ExceptionGroup("all", [ValueError(KEY), KeyError(KEY)])
    assert Secrets([KEY]).error(group) is group
    shown = Secrets([KEY]).error(ExceptionGroup("all", [Stubborn()]))
    assert isinstance(shown, ExceptionGroup)
    assert [type(each) for each in shown.exceptions] == [RedactedError]


def test_secrets_are_not_in_their_own_representation() -> None:
    assert KEY not in repr(Secrets([KEY]) | Secrets(["another-secret"]))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (f"began {KEY[:8]}... (80 characters)", "began [redacted]... (80 characters)"),
        (f"input_value='x{KEY[:9]}...{KEY[-7:]}'", "input_value='x[redacted]...[redacted]'"),
        (f"{KEY[:6]}\u2026 and {KEY[:7]}...", "[redacted]\u2026 and [redacted]..."),
        (f"too short: {KEY[:5]}...", f"too short: {KEY[:5]}..."),
    ],
)
def test_the_ends_of_a_secret_are_hidden_where_a_text_was_cut(shown: str, expected: str) -> None:
    assert Secrets([KEY]).text(shown) == expected


def test_an_error_holds_copies_of_what_was_sent_and_answered() -> None:
    sent = {"authorization": f"Bearer {KEY}", "x-trace": "t1"}
    request = httpx.Request("POST", f"https://user:{KEY}@host/v1?key={KEY}", headers=sent)
    headers = {"content-encoding": "gzip", "retry-after": "3", "x-echo": KEY}
    body = gzip.compress(json.dumps({"error": KEY}).encode())
    error = httpx.HTTPStatusError(
        "no", request=request, response=httpx.Response(429, headers=headers, content=body, request=request)
    )
    assert Secrets([KEY]).error(error) is error
    response = error.response
    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    assert response.json() == {"error": "[redacted]"}
    for asked in (error.request, response.request):
        assert (asked.method, str(asked.url)) == ("POST", "https://host/v1")
        assert asked.headers["x-trace"] == "t1"
    shown = [response.text, *response.headers.values(), *error.request.headers.values(), repr(vars(error))]
    assert not any(KEY in text for text in shown)


def test_a_response_that_was_not_read_can_be_copied() -> None:
    error = RuntimeError("no")
    body = httpx.ByteStream(KEY.encode())
    error.response = httpx.Response(500, headers={"x-echo": KEY}, stream=body)  # type: ignore[attr-defined]
    Secrets([KEY]).error(error)
    assert error.response.status_code == 500  # type: ignore[attr-defined]
    assert error.response.headers["x-echo"] == "[redacted]"  # type: ignore[attr-defined]


def test_other_objects_of_the_http_library_stay_as_they_are() -> None:
    error = RuntimeError("no")
    error.timeout = httpx.Timeout(3)  # type: ignore[attr-defined]
    error.said = f"with {KEY}"  # type: ignore[attr-defined]
    shown: Any = Secrets([KEY]).error(error)
    assert shown is error
    assert shown.timeout == httpx.Timeout(3)
    assert shown.said == "with [redacted]"


def test_an_object_that_only_has_the_name_of_a_request_is_a_value_like_others() -> None:
    class Request:
        """A host's own class."""

    error = RuntimeError(f"no {KEY}")
    error.request = request = Request()  # type: ignore[attr-defined]
    error.said = KEY  # type: ignore[attr-defined]
    shown: Any = Secrets([KEY]).error(error)
    assert shown is error
    assert (shown.request, shown.said, str(shown)) == (request, "[redacted]", "no [redacted]")


def test_an_error_that_cannot_be_changed_or_shown_is_stood_for_or_let_be() -> None:
    class Sealed(Exception):
        def __setattr__(self, name: str, value: object) -> None:
            raise TypeError("sealed")

        def __str__(self) -> str:
            return f"sealed {KEY}"

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

        __repr__ = __str__

    sealed, mute = Sealed(KEY), Mute(KEY)
    shown = Secrets([KEY]).error(sealed)
    assert isinstance(shown, RedactedError)
    assert str(shown) == "Sealed: sealed [redacted]"
    assert Secrets([KEY]).error(mute) is mute
    assert mute.args == ("[redacted]",)
    assert Secrets([]).error(sealed) is sealed
