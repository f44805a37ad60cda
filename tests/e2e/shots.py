"""Pictures of the page in both themes, wide and on a phone, to be looked at."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.chat_scenes import card, done
from tests.e2e.inspector_scenes import panel, rows
from tests.e2e.stage import PHONE, WIDE, Stage, answer, send
from tests.e2e.target import GATES


def take(stage: Stage, folder: Path) -> None:
    """Take the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for colours in ("light", "dark"):
        for name, size in (("wide", WIDE), ("phone", PHONE)):
            page = stage.open(color_scheme=colours, viewport=size, device_scale_factor=1)

            shot = partial(_shot, page, folder, f"{colours}-{name}")

            shot("empty")
            send(page, "look at the tides of the North Sea")
            done(page)
            answer(page).locator("details.tool summary").click()
            shot("tool")
            send(page, "markdown please")
            done(page)
            shot("markdown")
            send(page, "pay 89")
            expect(card(page)).to_be_visible()
            shot("approval")
            card(page).get_by_role("button", name="Edit").click()
            shot("edit")
            gate = f"shot {colours} {name}"
            page.locator("#message").fill(f"hold {gate}")
            page.keyboard.press("Enter")
            expect(answer(page)).to_contain_text("word30")
            shot("streaming")
            GATES[gate].open()
            done(page)
            send(page, "fail now")
            expect(page.get_by_role("alert")).to_be_visible()
            shot("failed")
            if name == "phone":
                page.get_by_role("button", name="Sessions").click()
            page.get_by_role("button", name="More for look at the tides").first.click()
            shot("menu")
            inspect(page, stage, shot, is_narrow=name == "phone")
            stage.close()


def inspect(page: Page, stage: Stage, shot: Callable[[str], None], *, is_narrow: bool) -> None:
    """Take pictures of the inspector."""
    thread = page.url.rpartition("/")[2]
    page.goto(f"{stage.server.address}/#/inspector/{thread}")
    rows(page).filter(has_text="240 tokens").last.click()
    expect(page.locator(".graph figcaption")).to_contain_text("This turn ran")
    shot("inspector")
    panel(page, "State")
    shot("inspector-state")
    panel(page, "Tasks")
    shot("inspector-tasks")
    panel(page, "Events")
    expect(page.get_by_role("tabpanel")).to_contain_text("on_run_end")
    shot("inspector-events")
    page.goto(f"{stage.server.address}/#/inspector/{thread}")
    rows(page).filter(has_text="step 0").click()
    page.get_by_role("button", name="Edit state").click()
    page.get_by_label("Value to edit").select_option("messages")
    field = page.get_by_label("messages", exact=True)
    expect(field).to_have_value(re.compile("North"))
    shot("inspector-edit")
    field.fill(field.input_value().replace("North", "Baltic"))
    page.get_by_role("button", name="Save and run").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("on_run_end")
    if is_narrow:
        page.goto(f"{stage.server.address}/#/inspector/{thread}")
    shot("inspector-branches")
    page.get_by_role("link", name=re.compile("Compare branches")).click()
    expect(page.locator(".pairs > li").first).to_be_visible()
    shot("inspector-compare")
    page.goto(f"{stage.server.address}/#/inspector")
    expect(page.get_by_role("table").get_by_role("link").first).to_be_visible()
    shot("inspector-threads")


def _shot(page: Page, folder: Path, of: str, what: str) -> None:
    page.wait_for_timeout(300)  # colours fade in
    page.screenshot(path=folder / f"{of}-{what}.png")
