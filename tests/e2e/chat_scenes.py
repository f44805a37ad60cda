"""The chat page as a person uses it."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.stage import Stage, answer, scene, send
from tests.e2e.target import GATES, LONG


@scene("a message is answered, and the session is in the list")
def message(stage: Stage) -> None:
    page = stage.open()
    send(page, "Hello there")
    expect(answer(page)).to_contain_text("You said: Hello there")
    expect(page.get_by_role("navigation", name="Sessions").get_by_role("link", name="Hello there")).to_be_visible()
    expect(page).to_have_url(re.compile("#/chat/.+"))
    expect(answer(page)).to_contain_text("120 tokens · $0.00014")


@scene("text streams: the first half is shown while the model waits")
def stream(stage: Stage) -> None:
    page = stage.open()
    send(page, "hold stream")
    expect(answer(page)).to_contain_text("word30")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert "word31" not in page.inner_text("main")
    GATES["stream"].open()
    expect(answer(page).locator(".prose")).to_have_text(LONG)
    expect(page.get_by_role("button", name="Send")).to_be_visible()
