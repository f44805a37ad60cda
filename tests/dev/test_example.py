"""The examples that the page is shown with, and that use its API."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from tests.dev.serving import answered, new_thread, reading, send, serving, text_of
from tests.examples.promises import promised

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXAMPLE = EXAMPLES / "chat_page.py"


@pytest.mark.anyio
async def test_two_agents_cancel_an_order_once_a_person_agrees() -> None:
    async with serving(runpy.run_path(str(EXAMPLE))["support"]) as client:
        told = (await client.get("/api/info")).json()
        assert [each["name"] for each in told["agents"]] == ["Support", "Orders"]
        thread = await new_thread(client)
        await send(client, thread, "Cancel order 1042.", "r1")
        async with reading(client, thread) as reader:
            (asked,) = (await reader.until("paused"))[-1][1]["run"]["waiting"]
            assert asked["payload"]["action_requests"][0]["description"] == "The customer cannot order this again."
            await answered(client, thread, {asked["id"]: [{"type": "approve"}]})
            frames = await reader.until("paused")
        assert text_of(frames) == "Done: order 1042 is cancelled."
        assert frames[-1][1]["run"]["usage"]["cost"] > 0


def test_a_program_edits_a_step_and_compares_the_branches(capsys: pytest.CaptureFixture[str]) -> None:
    path = EXAMPLES / "inspect_steps.py"
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out == promised(path)
