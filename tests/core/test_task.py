"""What a task keeps about itself: counters that any thread may use, and what an attempt leaves behind."""

import threading
from hashlib import sha1

import pytest
from xxhash import xxh3_128_hexdigest

from stategraph.core.task import IdMaker, Task, path_key
from stategraph.errors import ConfigurationError
from tests.core.machines_kit import program

THREADS = 8


def make() -> Task:
    return Task("id", "node", None, (), (), "", 0, 1)


@pytest.mark.parametrize("counter", ["call_counter", "interrupt_counter", "subgraph_counter"])
def test_threads_that_count_for_the_first_time_at_once_get_different_numbers(counter: str) -> None:
    for _ in range(50):
        count = getattr(make(), counter)
        together = threading.Barrier(THREADS)
        numbers: list[int] = []

        def draw(together=together, count=count, numbers=numbers) -> None:
            together.wait(10)
            numbers.append(count())

        threads = [threading.Thread(target=draw) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(numbers) == list(range(THREADS))


def test_another_attempt_counts_its_interrupts_anew_and_its_calls_on() -> None:
    task = make()
    assert (task.interrupt_counter(), task.interrupt_counter(), task.call_counter()) == (0, 1, 0)
    task.restart()
    assert (task.interrupt_counter(), task.call_counter()) == (0, 1)
    make().restart()


def test_a_checkpoint_whose_id_is_no_uuid_is_refused_in_a_sentence() -> None:
    for wrong in ("run-1", "00000000-0000-6000-8000-00000000000"):
        with pytest.raises(ConfigurationError, match=f"The id of a checkpoint is '{wrong}'; expected a UUID"):
            IdMaker(wrong, 4)


def test_the_id_of_a_task_is_a_digest_of_the_checkpoint_and_what_the_task_is() -> None:
    checkpoint = "00000001-0000-6000-8000-00000000000f"
    data = bytes.fromhex(checkpoint.replace("-", "")) + b"node1"
    for version, digest in ((1, sha1(data, usedforsecurity=False).hexdigest()), (2, xxh3_128_hexdigest(data))):
        made = IdMaker(checkpoint, version).make("node1")
        assert [len(part) for part in made.split("-")] == [8, 4, 4, 4, 12]
        assert made.replace("-", "") == digest[:32]
        moved = IdMaker("0" * 32, version)
        assert moved.make("node1") != made
        moved.anchor(checkpoint, version)
        assert moved.make("node1") == made


def test_a_path_is_spelled_so_that_numbers_sort_by_value() -> None:
    task = Task("id", "node", None, ("push", ("pull", "a"), 7, True), (), "", 0, 1)
    for _ in range(2):
        assert task.path_key == "~push, ~pull, a, 0000000007, 0000000001"


def test_a_node_knows_how_the_path_of_its_tasks_is_spelled() -> None:
    node = program().nodes["a"]
    assert node.path_key == path_key(node.path)
