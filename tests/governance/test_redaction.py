"""The redactor hides fifty kinds of secrets wherever they stand, and nothing else."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from stategraph.governance.audit.log import AuditLog
from stategraph.governance.redaction import Redactor
from tests.governance.audit.events import event
from tests.governance.secrets import SECRETS, A

REDACTOR = Redactor()
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.sampled_from([text for text, _ in SECRETS.values()])
)
NAMES = st.text(max_size=8) | st.sampled_from(["password", "api_key", "token", "headers", "name", "key"])
VALUES = st.recursive(LEAVES, lambda each: st.lists(each, max_size=4) | st.dictionaries(NAMES, each, max_size=4))


def shapes(text: str) -> Iterator[Any]:
    """The places where a text may stand in an event."""
    yield text
    yield {"result": text}
    yield {"list": [1, {"deep": [text]}]}
    yield {text: 1}
    yield {"error": f"ValueError: {text!r}"}
    yield {"json": json.dumps({"inner": text})}
    yield {"around": f"before\n{text}\nafter"}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_hidden_wherever_it_stands(name: str) -> None:
    text, secret = SECRETS[name]
    parts = [part for part in secret.splitlines() if len(part) > 5] or [secret]
    for value in shapes(text):
        for cleaned in (json.dumps(REDACTOR.clean(value)), REDACTOR.clean_json(value)):
            for part in parts:
                assert part not in cleaned, (value, cleaned)
            assert "[redacted" in cleaned


def test_there_are_fifty_kinds() -> None:
    assert len(SECRETS) >= 50


@pytest.mark.parametrize("scheme", ["sqlite", "jsonl"])
def test_no_byte_of_any_secret_is_on_the_disk_or_in_a_log(tmp_path: Path, scheme: str) -> None:
    logger = logging.getLogger("tests.redaction")
    handler = logging.FileHandler(tmp_path / "program.log", encoding="utf-8")
    handler.addFilter(REDACTOR.log_filter())
    logger.addHandler(handler)
    logger.propagate = False
    registered = "my-own-S3cret/with+signs"
    with AuditLog(f"{scheme}:///{tmp_path / 'audit'}", redactor=REDACTOR) as log, REDACTOR.register(registered):
        for name, (text, secret) in SECRETS.items():
            for value in shapes(text):
                log.record_sync(event(data=value if isinstance(value, dict) else {"text": value}))
            log.record_sync(event(data={"password": secret, "headers": {"x": secret}}))
            if name not in ("card", "IBAN", "e-mail"):  # personal data: an id may be an address
                log.record_sync(event(call_id=text))
            logger.warning("tool said %s", text)
            try:
                raise ValueError(text)
            except ValueError:
                logger.exception("failed")
        log.record_sync(event(data={"said": registered, "coded": quote(registered, safe="")}, run_id=registered))
        logger.warning(registered)
    handler.close()
    logger.removeHandler(handler)
    content = b"".join(each.read_bytes() for each in sorted(tmp_path.rglob("*")) if each.is_file())
    # Data are in base64 in files of lines.
    for line in content.split(b'"data":"')[1:]:
        content += base64.b64decode(line.partition(b'"')[0])
    assert b"tool said" in content
    for name, (text, secret) in SECRETS.items():
        for part in [part for part in secret.splitlines() if len(part) > 5] or [secret]:
            assert part.encode() not in content, (name, text)
    assert registered.encode() not in content
    assert quote(registered, safe="").encode() not in content


@given(VALUES)
def test_cleaning_never_raises_gives_json_and_is_done_once(value: Any) -> None:
    cleaned = REDACTOR.clean(value)
    text = json.dumps(cleaned, allow_nan=False)
    assert REDACTOR.clean(json.loads(text)) == json.loads(text)
    assert json.loads(REDACTOR.clean_json(value)) == json.loads(text)


@given(st.text(max_size=200))
def test_text_without_secrets_of_any_kind_is_cleaned_once(text: str) -> None:
    once = REDACTOR.text(text)
    assert REDACTOR.text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "The token count is 200 and max_tokens: 4096",
        "Basic functionality of bearer certificates",
        "order 1234567890123456 and run 0194f3a2-77aa-7c0e-9d2b-112233445566",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "https://example.com/docs?page=2&sort=key#signature",
        "mcp:github/create_issue@1.2.0",
        "2026-11-30T08:00:00.000000+00:00",
        "ghp is short for GitHub personal",
        "4111 1111 1111 1112",
        "DE00 3704 0044 0532 0130 00",
        "postgresql://app@db:5432/app",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "secretary of the token ring",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert REDACTOR.text(text) == text
    assert json.loads(REDACTOR.clean_json({"a": text})) == {"a": text}


def test_values_are_hidden_by_the_names_of_their_keys() -> None:
    value = {
        "password": "x",
        "apiKey": ["a", "b"],
        "Set-Cookie": {"a": 1},
        "pin": 1234,
        "tokens": 200,
        "max_tokens": 5,
        "token": None,
        "effect_key": "charge:12",
        "own": "y",
    }
    own = Redactor(names=["own"], keep=["pin"])
    assert own.clean(value) == {
        **value,
        "password": "[redacted]",
        "apiKey": "[redacted]",
        "Set-Cookie": "[redacted]",
        "own": "[redacted]",
    }
    assert json.loads(own.clean_json(value)) == own.clean(value)
    assert REDACTOR.clean({"pin": 1234, "own": "y"}) == {"pin": "[redacted]", "own": "y"}


WORDS = ("token", "secret", "password", "passwd", "credential", "cookie", "header", "api_key", "authorization")


@pytest.mark.parametrize("word", [*WORDS, "pin", "cvv", "otp", "passphrase", "connection_string", "own_name"])
def test_a_name_is_known_in_every_spelling(word: str) -> None:
    redactor = Redactor(names=["own_name"])
    suffixes = ("", "_id", "_json", "_values") if word in WORDS else ("",)
    for name in (f"{prefix}{word}{suffix}" for prefix in ("", "my_") for suffix in suffixes):
        if name.startswith("my_") and word not in WORDS:
            continue  # these are known as a whole only
        first, *others = name.split("_")
        camel = first + "".join(other.title() for other in others)
        for spelled in (name, name.replace("_", "-"), camel, name.title().replace("_", "-")):
            assert redactor.clean({spelled: "abc"}) == {spelled: "[redacted]"}, spelled
            assert json.loads(redactor.clean_json({spelled: "abc"})) == {spelled: "[redacted]"}, spelled


SECRET = 'pa"ss\\wörd/42+x'


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        f"a {SECRET} b",
        repr(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        quote(SECRET, safe=""),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"us:{SECRET}:and more".encode()).decode(),
        base64.urlsafe_b64encode(f"u:{SECRET}!".encode()).decode(),
        f"{SECRET[:8]}...",
    ],
)
def test_a_registered_secret_is_hidden_in_every_form_while_it_is_registered(written: str) -> None:
    redactor = Redactor()
    assert redactor.text(written) == written
    with redactor.register(SecretStr(SECRET)):
        assert "[redacted]" in redactor.text(written)
        with redactor.register({"again": SECRET}):
            pass
        assert "[redacted]" in redactor.text(written)
    assert redactor.text(written) == written


def test_previews_show_addresses_and_hide_keys() -> None:
    shown = Redactor(personal=False).clean(
        {"to": "ann@acme.example", "api_key": A[:20], "note": "AKIAIOSFODNN7QWERTYU"}
    )
    assert shown == {"to": "ann@acme.example", "api_key": "[redacted]", "note": "[redacted:aws-key-id]"}


@dataclass
class Point:
    x: int
    token: str


class Model(BaseModel):
    name: str
    password: SecretStr


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError(A)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(A)


def test_what_is_no_json_becomes_json() -> None:
    itself: list[Any] = []
    itself.append(itself)
    cleaned = REDACTOR.clean(
        {
            "when": datetime(2026, 1, 1, tzinfo=UTC),
            "amount": Decimal("1.50"),
            "point": Point(1, "secret"),
            "model": Model(name="n", password=SecretStr("hidden-text")),
            "set": {1},
            "bytes": b"AKIAIOSFODNN7QWERTYU",
            "nan": float("nan"),
            "error": ValueError("password=abc"),
            "function": len,
            "hostile": Hostile(),
            "itself": itself,
            1: "number",
        }
    )
    text = json.dumps(cleaned, allow_nan=False)
    assert cleaned["point"] == {"x": 1, "token": "[redacted]"}
    assert cleaned["model"] == {"name": "n", "password": "[redacted]"}
    assert cleaned["bytes"] == "[redacted:aws-key-id]"
    assert cleaned["error"] == "ValueError: password=[redacted:value]"
    assert cleaned["1"] == "number"
    assert A not in text


def test_what_is_too_large_is_cut_and_a_secret_at_the_cut_is_hidden() -> None:
    token = f"ghp_{A[:36]}"
    text = json.loads(REDACTOR.clean_json({"text": "x " * 505 + token + " y" * 50_000, "n": 1}, 10_000))
    assert text["n"] == 1
    assert text["text"].endswith("[101,050 characters]")
    assert A[:8] not in text["text"]
    assert json.loads(REDACTOR.clean_json({str(number): "x" for number in range(9999)}, 1000)).keys() == {"left_out"}


def test_integers_of_more_digits_than_python_writes_are_left_out() -> None:
    left_out = "[left out: a large number]"
    value = {"n": 10**5000, "list": [-(10**5000), 2**70], 10**5000: 1}
    expected = {"n": left_out, "list": [left_out, 2**70], left_out: 1}
    assert REDACTOR.clean(value) == expected
    assert json.loads(REDACTOR.clean_json(value, 10_000)) == expected


def test_deep_and_wide_values_end() -> None:
    deep: Any = "x"
    for _ in range(10_000):
        deep = [deep]
    assert "too deep" in json.dumps(REDACTOR.clean(deep))
    wide: Any = "x"
    for _ in range(60):
        wide = [wide, wide]
    assert "too large" in json.dumps(REDACTOR.clean(wide))


def test_further_finders_are_asked() -> None:
    def passports(text: str) -> Iterator[tuple[int, int, str]]:
        at = text.find("P1234567")
        if at >= 0:
            yield at, at + 8, "passport"

    redactor = Redactor(recognisers=[passports])
    assert redactor.clean({"a": "is P1234567."}) == {"a": "is [redacted:passport]."}
    assert json.loads(redactor.clean_json({"a": "is P1234567."})) == {"a": "is [redacted:passport]."}

    def broken(text: str) -> Iterator[tuple[int, int, str]]:
        raise RuntimeError(text)

    assert Redactor(recognisers=[broken]).text("something") == "[left out: a text cannot be read: RuntimeError]"
