"""The compact form on PostgreSQL: several processes, forms side by side, what is remembered and forgotten."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg")

from langchain_core.messages import AIMessage, HumanMessage  # noqa: E402
from langgraph.checkpoint.memory import InMemorySaver  # noqa: E402
from langgraph.checkpoint.postgres import PostgresSaver as TheirSaver  # noqa: E402

from stategraph.errors import ConfigurationError  # noqa: E402
from stategraph.savers import PostgresSaver  # noqa: E402
from stategraph.savers.postgres.schema import LOCK, UNLOCK  # noqa: E402
from tests.savers.drivers import at, checkpoint, put  # noqa: E402


@pytest.fixture
def saver(postgres: str) -> Iterator[Any]:
    with PostgresSaver.from_conn_string(postgres) as found:
        found.setup()
        yield found


def rows(address: str, table: str) -> int:
    with psycopg.connect(address) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
        return int(count)


def grow(saver: Any, thread: str, turns: int, parent: str | None = None, text: str = "x" * 300) -> str | None:
    """Add turns of two messages, each its own checkpoint, as a chat does."""
    messages: list[Any] = []
    for turn in range(turns):
        messages = [*messages, HumanMessage(f"{turn} {text}"), AIMessage(f"answer {turn} {text}")]
        parent = put(saver, thread, parent, messages=messages)
        saver.put_writes(at(thread, parent), [("messages", messages[-1:])], "task")
    return parent


def test_bytes_grow_with_the_data_of_a_thread(saver: Any, postgres: str) -> None:
    grow(saver, "t", 40)
    found = saver.get_tuple(at("t"))
    assert len(found.checkpoint["channel_values"]["messages"]) == 80
    with psycopg.connect(postgres) as connection:
        (stored,) = connection.execute("SELECT sum(length(value)) FROM sg_values").fetchone() or (0,)
    data = sum(len(str(message.content)) for message in found.checkpoint["channel_values"]["messages"])
    assert stored < 2 * data  # each message is stored once, in forty checkpoints and their writes
    assert rows(postgres, "checkpoint_blobs") == 0


def test_a_thread_is_read_in_another_process_with_one_statement(saver: Any, postgres: str) -> None:
    grow(saver, "t", 5)
    statements: list[str] = []
    with PostgresSaver.from_conn_string(postgres) as other:
        other.get_tuple(at("elsewhere"))
        execute = psycopg.Cursor.execute

        def counted(cursor: Any, query: Any, *arguments: Any, **named: Any) -> Any:
            statements.append(str(query))
            return execute(cursor, query, *arguments, **named)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psycopg.Cursor, "execute", counted)
            found = other.get_tuple(at("t"))
            assert found is not None
            assert len(found.checkpoint["channel_values"]["messages"]) == 10
            assert len(statements) == 1
            other.get_tuple(at("t"))
            assert len(statements) == 2


def test_savers_that_know_a_thread_differently_lose_nothing(saver: Any, postgres: str) -> None:
    """Each of two savers saves to a thread that the other one has changed: it plans anew, and all of it can be read."""
    with PostgresSaver.from_conn_string(postgres) as other:
        parent: str | None = None
        messages: list[Any] = []
        for turn in range(12):
            messages = [*messages, HumanMessage(f"{turn}" + "y" * 200)]
            parent = put((saver, other)[turn % 2], "t", parent, messages=messages, who=["z" * 200, turn % 2])
        for each in (saver, other):
            history = list(each.list(at("t")))
            assert [len(found.checkpoint["channel_values"]["messages"]) for found in history] == [*range(12, 0, -1)]
            assert history[0].checkpoint["channel_values"]["messages"] == messages


def test_many_savers_write_to_one_thread_at_once(postgres: str) -> None:
    barrier = threading.Barrier(4)

    def use(name: str) -> None:
        with PostgresSaver.from_conn_string(postgres) as own:
            barrier.wait(30)
            own.setup()  # all at once, too
            for number in range(15):
                stored = put(own, "shared", values=[name * 150, f"{name}{number}" * 100])
                own.put_writes(at("shared", stored), [("values", f"{name}{number}" * 100)], "task")

    with ThreadPoolExecutor(4) as others:
        list(others.map(use, "abcd"))
    with PostgresSaver.from_conn_string(postgres) as own:
        found = [each.checkpoint["channel_values"]["values"][1] for each in own.list(at("shared"))]
        assert sorted(found) == sorted(f"{name}{number}" * 100 for name in "abcd" for number in range(15))


def test_tables_are_made_by_one_saver_at_a_time(postgres: str) -> None:
    def make() -> None:
        with PostgresSaver.from_conn_string(postgres) as own:
            own.setup()

    with psycopg.connect(postgres, autocommit=True) as first, ThreadPoolExecutor(1) as others:

        def answer(statement: str) -> Any:
            return (first.execute(statement).fetchone() or (None,))[0]

        assert answer(LOCK) is True
        making = others.submit(make)
        while not answer("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(0.05)'"):
            assert not making.done()
        assert answer("SELECT to_regclass('checkpoints')") is None
        assert answer(UNLOCK) is True
        making.result(60)
        assert answer("SELECT to_regclass('sg_threads')") is not None
        assert answer(LOCK) is True  # it has been given back
        make()  # nothing is missing, so nothing waits for it


def test_a_plain_saver_in_pipeline_mode_prunes_named_threads(postgres: str) -> None:
    with PostgresSaver.from_conn_string(postgres, mode="plain") as own:
        own.setup()
        grow(own, "t", 3)
    with PostgresSaver.from_conn_string(postgres, mode="plain", pipeline=True) as own:
        own.prune(["t"])
        assert len(list(own.list(at("t")))) == 1


def test_a_database_of_theirs_stays_plain_and_can_hold_both(postgres: str) -> None:
    with TheirSaver.from_conn_string(postgres) as theirs:
        theirs.setup()
        first = put(theirs, "t", messages=["a" * 200], n=1)
    with PostgresSaver.from_conn_string(postgres) as plain:
        plain.setup()
        second = put(plain, "t", first, messages=["a" * 200, "b" * 200], n=2)
    with TheirSaver.from_conn_string(postgres) as theirs:
        assert [each.checkpoint["channel_values"]["n"] for each in theirs.list(at("t"))] == [2, 1]
    with PostgresSaver.from_conn_string(postgres, mode="compact") as compact:
        with pytest.raises(ConfigurationError, match=r"call the saver's setup\(\) once"):
            compact.get_tuple(at("t"))
        compact.setup()
        put(compact, "t", second, messages=["a" * 200, "b" * 200, "c" * 200], n=3)
        assert [each.checkpoint["channel_values"]["n"] for each in compact.list(at("t"))] == [3, 2, 1]
        assert compact.get_tuple(at("t", first)).checkpoint["channel_values"]["messages"] == ["a" * 200]
    with PostgresSaver.from_conn_string(postgres) as again:
        third = again.get_tuple(at("t"))
        assert third is not None
        assert third.checkpoint["channel_values"]["messages"][2] == "c" * 200
        assert rows(postgres, "sg_threads") == 1
    with PostgresSaver.from_conn_string(postgres, mode="plain") as plain:
        # The same checkpoint once more, in the other form.
        plain.put(third.parent_config, third.checkpoint, {"step": 3}, third.checkpoint["channel_versions"])
        assert plain.get_tuple(at("t")).checkpoint == third.checkpoint
    with TheirSaver.from_conn_string(postgres) as theirs:
        assert theirs.get_tuple(at("t")).checkpoint["channel_values"]["n"] == 3  # type: ignore[union-attr]


def test_their_saver_refuses_a_checkpoint_in_the_compact_form(saver: Any, postgres: str) -> None:
    put(saver, "t", n=1)
    with TheirSaver.from_conn_string(postgres) as theirs, pytest.raises(KeyError):
        theirs.get_tuple(at("t"))


def test_an_unknown_mode_is_refused(postgres: str) -> None:
    opening: Any = PostgresSaver.from_conn_string(postgres, mode="small")  # type: ignore[arg-type]
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match="'compact', 'plain' or None"), opening:
        pass
    assert threading.active_count() <= before  # the pool was closed


def test_a_deleted_thread_leaves_no_values(saver: Any, postgres: str) -> None:
    grow(saver, "t", 3)
    grow(saver, "other", 2)
    saver.delete_thread("t")
    assert saver.get_tuple(at("t")) is None
    with psycopg.connect(postgres) as connection:
        left = connection.execute("SELECT DISTINCT thread FROM sg_values").fetchall()
        assert left == connection.execute("SELECT id FROM sg_threads").fetchall()
    grow(saver, "t", 1)
    assert len(saver.get_tuple(at("t")).checkpoint["channel_values"]["messages"]) == 2


def test_a_save_that_is_undone_is_not_built_upon(postgres: str) -> None:
    """What a rolled back transaction has stored is not taken for stored by the next save."""
    with PostgresSaver.from_conn_string(postgres) as first:
        first.setup()
    with psycopg.connect(postgres, row_factory=psycopg.rows.dict_row) as connection:
        saver = PostgresSaver(connection)
        kept = put(saver, "t", messages=["a" * 200])
        connection.commit()
        put(saver, "t", kept, messages=["a" * 200, "b" * 200])
        connection.rollback()
        put(saver, "t", kept, messages=["a" * 200, "b" * 200, "c" * 200])
        connection.commit()
    with PostgresSaver.from_conn_string(postgres) as other:
        assert other.get_tuple(at("t")).checkpoint["channel_values"]["messages"][1:] == ["b" * 200, "c" * 200]  # type: ignore[union-attr]


def seen(found: Any) -> tuple[Any, ...]:
    return found.config, found.checkpoint, found.parent_config, found.pending_writes


@pytest.mark.parametrize("seed", range(4))
def test_a_random_history_is_read_as_it_was_stored(saver: Any, postgres: str, seed: int) -> None:
    """Appends, edits, removals and forks: each checkpoint and its writes are those of a saver in memory."""
    chance = random.Random(seed)
    memory = InMemorySaver()
    history: list[tuple[str | None, list[Any]]] = [(None, [])]
    for step in range(25):
        parent, before = chance.choice(history[-4:])
        messages = [*before]
        for _ in range(chance.randrange(3)):
            messages.append(chance.choice([HumanMessage, AIMessage])(f"{step}" + "m" * chance.randrange(300)))
        if messages and chance.random() < 0.3:
            del messages[chance.randrange(len(messages))]
        if messages and chance.random() < 0.3:
            messages[chance.randrange(len(messages))] = AIMessage(f"edited {step}" * 20)
        made = checkpoint(messages=messages, count=step, box={"k": messages[-2:], "n": step})
        for each in (saver, memory):
            each.put(at("t", parent), made, {"step": step}, made["channel_versions"])
            each.put_writes(at("t", made["id"]), [("messages", messages[-1:]), ("__interrupt__", [step])], "task", "~p")
        history.append((made["id"], messages))
    with PostgresSaver.from_conn_string(postgres) as other:
        expected = [
            (each.config, each.checkpoint, each.parent_config, each.pending_writes) for each in memory.list(at("t"))
        ]
        for reader in (saver, other):
            found = [
                (each.config, each.checkpoint, each.parent_config, each.pending_writes) for each in reader.list(at("t"))
            ]
            assert found == expected
        for config, stored, *_ in expected:
            assert other.get_tuple(config).checkpoint == stored  # type: ignore[union-attr]


def test_saves_within_a_transaction_are_stored_all_or_not_at_all(saver: Any, postgres: str) -> None:
    """What comes before them is left if they are, also where they have to be planned twice, or cannot be encoded."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE marks (name TEXT)")

    def marks() -> list[str]:
        with psycopg.connect(postgres) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM marks").fetchall()]

    def save(parent: str | None, *texts: str, bad: bool = False) -> Any:
        made = checkpoint(texts=[text * 200 for text in texts], **({"bad": object()} if bad else {}))
        return "put", (at("t", parent), made, {}, made["channel_versions"])

    def mark(name: str) -> list[tuple[str, tuple[str, ...]]]:
        return [("INSERT INTO marks VALUES (%s)", (name,)), ("SELECT 1", ())]

    first = save(None, "a")
    assert saver.put_within([first], mark("one")) == at("t", first[1][1]["id"])
    with PostgresSaver.from_conn_string(postgres) as other:
        parent = put(other, "t", first[1][1]["id"], texts=["a" * 200, "b" * 200])
    second = save(parent, "a", "b", "c")
    writes = "put_writes", (at("t", second[1][1]["id"]), [("texts", "d" * 200)], "task")
    assert saver.put_within([second, writes], mark("two")) is None
    assert marks() == ["one", "two"]
    with pytest.raises(TypeError):
        saver.put_within([save(second[1][1]["id"], "a", bad=True)], mark("three"))
    refused = "put_writes", (at("t", second[1][1]["id"]), [("texts", 1)], "task\x00")
    with pytest.raises(psycopg.DataError):
        saver.put_within([save(second[1][1]["id"], "a"), refused], mark("four"))
    with pytest.raises(psycopg.errors.UndefinedTable):
        saver.put_within([save(second[1][1]["id"], "a")], [("INSERT INTO nowhere VALUES (1)", ())])
    assert marks() == ["one", "two"]
    found = saver.get_tuple(at("t"))
    assert found.checkpoint["channel_values"] == {"texts": ["a" * 200, "b" * 200, "c" * 200]}
    assert found.pending_writes == [("task", "texts", "d" * 200)]
    assert saver.put_within([("put_writes", (at("t", second[1][1]["id"]), [], "task"))], mark("five")) is None
    saver.delete_thread_within("t", mark("six"))
    assert marks() == ["one", "two", "five", "six"]
    assert saver.get_tuple(at("t")) is None
