"""The console of resources as a person uses it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, expect

from stategraph.dev.console.console import Console
from stategraph.resources.runtime import Runtime
from tests.console_app import APP
from tests.e2e import axe
from tests.e2e.inspector_scenes import marked
from tests.e2e.stage import PHONE, Server, Stage, scene


@contextmanager
def consoled(stage: Stage, *, writes: bool) -> Iterator[tuple[Server, Console]]:
    """Serve a console of a workflow that is ready and one that is not."""

    async def made() -> Console:
        return Console(Runtime.from_url("memory:"), writes=writes)

    console = stage.loop.run(made())
    with stage.serving(None, console=console) as server:
        stage.loop.run(console.runtime.load_from_string(APP))
        yield server, console


def opened(stage: Stage, server: Server, console: Console, **options: Any) -> Page:
    return stage.open(f"/#/resources?token={console.token}", of=server, **options)


@scene("resources are listed with their state, and one says why it is not ready")
def listed(stage: Stage) -> None:
    with consoled(stage, writes=False) as (server, console):
        page = opened(stage, server, console)
        assert "token" not in page.url
        rows = page.locator(".resource-row")
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text("broken")
        page.get_by_role("link", name="broken").click()
        expect(page.get_by_role("region", name="Why it is not ready")).to_contain_text("spec.steps[0].tool")
        expect(page.get_by_role("region", name="Uses")).to_contain_text("tool/default/finder")
        expect(page.get_by_role("region", name="Manifest")).to_contain_text("kind: Workflow")
        page.reload()
        expect(page.locator("#resource-title")).to_have_text("broken")
        assert axe.serious(page) == []


@scene("nothing can be changed in a console that only reads")
def reads(stage: Stage) -> None:
    with consoled(stage, writes=False) as (server, console):
        page = opened(stage, server, console)
        page.get_by_role("link", name="greet").click()
        expect(page.locator(".graph svg")).to_be_visible()
        side = page.locator(".resources")
        for name in ("Run", "Delete", "Apply a manifest"):
            expect(side.get_by_role("button", name=name)).to_have_count(0)


@scene("changes of resources are seen as they come")
def follows(stage: Stage) -> None:
    with consoled(stage, writes=False) as (server, console):
        page = opened(stage, server, console)
        page.get_by_role("link", name="broken").click()
        expect(page.locator("#resource-title")).to_have_text("broken")
        fixed = APP.partition("---")[2].replace("tool: finder", "set: {}")
        stage.loop.run(console.runtime.load_from_string(fixed))
        expect(page.locator(".resource-head .badge")).to_have_text("ready")
        stage.loop.run(console.runtime.delete("workflow/broken"))
        expect(page.locator(".resource-row")).to_have_count(1)


@scene("a workflow is run, its way is marked in the drawing, and its question is answered")
def runs(stage: Stage) -> None:
    with consoled(stage, writes=True) as (server, console):
        page = opened(stage, server, console)
        page.get_by_role("link", name="greet").click()
        page.locator("#run-input").fill('{"name": "Ada"}')
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".run-status")).to_have_text("Waits for an answer")
        assert (marked(page, "taken"), marked(page, "upcoming")) == (["say"], ["ask"])
        expect(page.get_by_label("Result")).to_contain_text("Hello, Ada")
        page.locator("#run-answer").fill("fine")
        page.get_by_role("button", name="Answer").click()
        expect(page.locator(".run-status")).to_have_text("Done")
        expect(page.get_by_label("Result")).to_contain_text('"mood": "fine"')
        assert marked(page, "taken") == ["__end__", "ask", "say"]
        assert axe.serious(page) == []


@scene("a manifest is applied and a resource is deleted, after a question")
def writes(stage: Stage) -> None:
    with consoled(stage, writes=True) as (server, console):
        page = opened(stage, server, console)
        page.get_by_role("button", name="Apply a manifest").click()
        page.locator("#manifest").fill(APP.partition("---")[0].replace("name: greet", "name: new"))
        page.get_by_role("button", name="Apply", exact=True).click()
        expect(page.get_by_role("form", name="Apply a manifest")).to_contain_text("workflow/default/new created")
        page.locator(".resource-row", has_text="new").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_role("button", name="Delete it").click()
        expect(page.locator(".resource-row")).to_have_count(2)


@scene("the console asks for its token, and fits on a phone")
def asks(stage: Stage) -> None:
    with consoled(stage, writes=False) as (server, console):
        page = stage.open("/#/resources", of=server)
        expect(page.locator("#resources")).to_contain_text("The console needs its token")
        phone = opened(stage, server, console, viewport=PHONE)
        phone.get_by_role("link", name="greet").click()
        expect(phone.locator("#resource-title")).to_have_text("greet")
        phone.get_by_role("link", name="All resources").click()
        expect(phone.locator(".resource-row").first).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
