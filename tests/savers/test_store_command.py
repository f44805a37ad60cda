"""`python -m stategraph store`, as operators use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from stategraph.cli import main
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.savers import SqliteSaver
from tests.savers.drivers import at
from tests.savers.test_upkeep import chain


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The address of a database with two threads, and a saver on it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'savers.db'}"
        opening: Any = SqliteSaver.from_conn_string(str(tmp_path / "savers.db"))
    else:
        from stategraph.savers import PostgresSaver

        url = request.getfixturevalue("postgres")
        opening = PostgresSaver.from_conn_string(url)
    with opening as saver:
        saver.setup()
        chain(saver, "large", 8)
        chain(saver, "small", 2)
        yield url, saver


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["store", *words])
    return code, capsys.readouterr().out


def test_a_database_is_measured_pruned_converted_and_erased(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url, saver = store
    code, said = run(capsys, "size", "--store", url, "--limit", "1")
    assert code == 0
    assert "2 threads, saved in the compact form" in said
    assert "large" in said
    assert "small" not in said
    code, said = run(capsys, "prune", "--store", url, "--keep-last", "2", "--json")
    assert code == 0
    assert json.loads(said)["checkpoints"] == 6
    assert len(list(saver.list(at("large")))) == 2
    assert run(capsys, "prune", "--store", url, "--keep-last", "2") == (1, "There was nothing to delete.\n")
    code, said = run(capsys, "vacuum", "--store", url, "--json")
    assert code == 0
    assert json.loads(said)["after"] > 0
    code, said = run(capsys, "convert", "plain", "--store", url, "--json")
    assert code == 0
    assert json.loads(said)["form"] == "plain"
    assert run(capsys, "convert", "plain", "--store", url)[0] == 1
    code, said = run(capsys, "erase", "large", "none", "--store", url)
    assert (code, said) == (0, "1 thread erased. There was no thread 'none'.\n")
    code, said = run(capsys, "erase", "large", "--store", url, "--json")
    assert (code, json.loads(said)) == (1, {"erased": [], "missing": ["large"]})
    code, said = run(capsys, "size", "--store", url, "--json")
    assert [each["thread_id"] for each in json.loads(said)["threads"]] == ["small"]


def test_old_and_large_are_read_with_their_units(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url, saver = store
    assert run(capsys, "prune", "--store", url, "--max-age", "30d")[0] == 1
    assert run(capsys, "prune", "large", "--store", url, "--max-size", "1k")[0] == 0
    assert len(list(saver.list(at("large")))) < 8
    assert len(list(saver.list(at("small")))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["size", "--store", "sqlite:////nowhere/none.db"], "There is no database '/nowhere/none.db'"),
        (["size", "--store", "mysql://host/db"], "found 'mysql'"),
        (["size"], "No database was named"),
        (["vacuum", "--store", "postgresql://me:secret@127.0.0.1:1/db"], "Connection refused"),
    ],
)
def test_what_does_not_work_is_said_in_a_sentence(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATEGRAPH_STORE", raising=False)
    assert main(["store", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "secret" not in said


def test_pruning_needs_a_limit(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "prune", "--store", store[0]]) == 2
    assert "--keep-last, --max-age or --max-size" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["store", "prune", "--store", store[0], "--max-size", "many"])
    assert "'many' is no size" in capsys.readouterr().err


def test_what_cannot_be_read_is_erased_all_the_same_and_not_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'savers.db'}"
    encrypted = EncryptedSerializer.from_pycryptodome_aes(StrictSerializer(), key=b"0123456789abcdef")
    with SqliteSaver.from_conn_string(str(tmp_path / "savers.db"), serde=encrypted) as saver:
        chain(saver, "sealed", 3)
    assert main(["store", "convert", "plain", "--store", url]) == 2
    assert "What is stored is encrypted" in capsys.readouterr().err
    assert run(capsys, "erase", "sealed", "--store", url) == (0, "1 thread erased.\n")
    assert run(capsys, "erase", "sealed", "--store", url)[0] == 1
