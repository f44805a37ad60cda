"""The inspector as a person uses it."""

from __future__ import annotations

import re
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from playwright.sync_api import Page, expect

from tests.e2e import axe
from tests.e2e.chat_scenes import card, done, send_by_touch
from tests.e2e.stage import PHONE, WIDE, Stage, answer, scene, send
from tests.e2e.target import MARKUP, marked_up, target

SMALL = {"width": 320, "height": 640}


def inspected(page: Page) -> str:
    """Open the inspector for the session of a page, and return the thread."""
    expect(page).to_have_url(re.compile("#/chat/.+"))
    thread = page.url.rpartition("/")[2]
    page.get_by_role("link", name="Inspector").click()
    expect(rows(page).first).to_be_visible()
    return thread


def rows(page: Page) -> Any:
    return page.locator(".step-row")


def row(page: Page, title: str) -> Any:
    """The newest step of this title."""
    return rows(page).filter(has=page.locator(".name", has_text=re.compile(f"^{title}$"))).first


def panel(page: Page, title: str) -> Any:
    page.get_by_role("tab", name=title).click()
    return page.get_by_role("tabpanel")


def editing(page: Page, text: str) -> Any:
    """Send a message, begin to edit the state that has it, and return the field with the messages."""
    send(page, text)
    done(page)
    inspected(page)
    row(page, "start").click()
    page.get_by_role("button", name="Edit state").click()
    page.get_by_label("Value to edit").select_option("messages")
    field = page.get_by_label("messages", exact=True)
    expect(field).to_have_value(re.compile(text))
    return field


def marked(page: Page, kind: str) -> list[str]:
    """The nodes of the picture that are marked so."""
    found: list[str] = page.locator(f".graph [data-node].{kind}").evaluate_all(
        "all => all.map((node) => node.dataset.node)"
    )
    return sorted(found)


@scene("steps of a session are listed with what ran, and the newest is shown with its changes")
def steps(stage: Stage) -> None:
    page = stage.open()
    send(page, "look tides")
    done(page)
    inspected(page)
    expect(rows(page)).to_have_count(4)
    expect(rows(page).nth(0)).to_contain_text("done")
    expect(rows(page).nth(1)).to_contain_text("240 tokens")
    row(page, "ada").click()
    changes = panel(page, "Changes")
    expect(changes.locator(".difference.added").filter(has_text="messages[1]")).to_contain_text("look_up")
    expect(changes.locator(".difference").filter(has_text="messages[3]")).to_contain_text("The result is:")
    state = panel(page, "State")
    expect(state.get_by_role("article", name="Person message")).to_contain_text("look tides")
    expect(state.get_by_role("region", name="messages")).to_contain_text("4 messages")
    tasks = panel(page, "Tasks")
    expect(tasks.get_by_role("region", name="ada")).to_contain_text("Wrote:")
    details = panel(page, "Details")
    expect(details).to_contain_text("200 in, 40 out")
    events = panel(page, "Events")
    expect(events).to_contain_text("on_message_delta")
    expect(events).to_contain_text("on_run_end")


@scene("the way that a turn took is marked in the graph")
def path(stage: Stage) -> None:
    page = stage.open()
    send(page, "look tides")
    done(page)
    inspected(page)
    expect(page.locator(".graph figcaption")).to_contain_text(re.compile("agent=ada .2, tools=ada"))
    assert marked(page, "current") == ["done"]
    assert {"ada:agent=ada", "ada:tools=ada", "__end__"} <= set(marked(page, "taken"))
    page.locator('.graph [data-node="ada:agent=ada"]').click()
    expect(page.locator("#step-title")).to_have_text("ada")
    row(page, "start").click()
    expect(page.locator(".graph figcaption")).to_contain_text("No node has run")
    assert marked(page, "upcoming") == ["ada:agent=ada"] or marked(page, "upcoming") == ["ada:__start__"]


@scene("a session that waits says what for, and the steps inside of an agent are read")
def waits(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay 7")
    expect(card(page)).to_be_visible()
    inspected(page)
    expect(rows(page).first).to_contain_text("waits")
    tasks = panel(page, "Tasks")
    expect(tasks).to_contain_text('"name": "pay"')
    tasks.get_by_role("link", name="Steps inside").click()
    expect(page.get_by_role("navigation", name="Graphs")).to_contain_text("ada")
    expect(rows(page).first).to_contain_text("agent=ada")
    page.get_by_role("navigation", name="Graphs").get_by_role("link", name="Graph").click()
    expect(rows(page).first).to_contain_text("start")
    panel(page, "Tasks").get_by_role("link", name="chat").click()
    card(page).get_by_role("button", name="Approve").click()
    expect(answer(page)).to_contain_text("The result is: paid 7")


@scene("why each node ran, waits or did not run is told for every step")
def why(stage: Stage) -> None:
    page = stage.open()
    send(page, "look tides")
    done(page)
    inspected(page)
    row(page, "ada").click()
    told = panel(page, "Why")
    nodes = told.locator("ul.why").last
    expect(nodes).to_contain_text(re.compile("ada ran"))
    expect(told.get_by_role("heading", name="Who wrote what")).to_be_visible()
    expect(told).to_contain_text("written by")
    expect(told.locator(".badge.waits")).to_have_count(0)
    row(page, "start").click()
    expect(told.get_by_role("heading", name="Behind it")).to_be_visible()
    expect(told.locator(".badge.waits").first).to_be_visible()
    assert not axe.serious(page)


@scene("a node that waits for a person is told by the panel Why, with its question")
def why_it_waits(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay 7")
    expect(card(page)).to_be_visible()
    inspected(page)
    told = panel(page, "Why")
    expect(told.locator("li").filter(has=page.locator(".badge.waits")).first).to_contain_text("ada")
    expect(told).to_contain_text("asked")


@scene("steps appear while a run goes on in another tab")
def live(stage: Stage) -> None:
    page = stage.open()
    send(page, "Hello")
    done(page)
    other = stage.open(f"/#/inspector/{inspected(page)}", like=page)
    expect(rows(other)).to_have_count(4)
    page.get_by_role("link", name="Chat").click()
    send(page, "look tides")
    done(page)
    expect(rows(other)).to_have_count(8)


@scene("a step runs again, on a branch, and its events are shown as they come")
def rerun(stage: Stage) -> None:
    page = stage.open()
    send(page, "look tides")
    done(page)
    inspected(page)
    row(page, "start").click()
    page.get_by_role("button", name="Rerun from here").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("on_run_end")
    expect(rows(page)).to_have_count(7)
    expect(row(page, "Copy of start")).to_be_visible()
    page.get_by_role("link", name="Compare branches").click()
    expect(page.get_by_role("heading", name="Two branches compared")).to_be_visible()
    expect(page.locator(".pairs > li")).to_have_count(3)
    page.get_by_role("link", name="Chat").click()
    expect(page.locator("article")).to_have_count(2)
    expect(answer(page)).to_contain_text("The result is:")


@scene("a value is edited, a mistake is pointed out, and the branch runs with what was set")
def edit(stage: Stage) -> None:
    page = stage.open()
    field = editing(page, "Good morning")
    text = field.input_value()
    field.fill(text[:-3])
    page.get_by_role("button", name="Save and run").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("This is not valid JSON")
    field.fill(text.replace('"human"', '"robot"'))
    page.get_by_role("button", name="Save and run").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("'messages[0]' is no message; expected an object with 'type'")
    field.fill(text)
    page.get_by_role("button", name="Save and run").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("No value is other than it was")
    field.fill(text.replace("Good morning", "Good evening"))
    page.get_by_role("button", name="Save and run").click()
    expect(rows(page)).to_have_count(7)
    expect(row(page, "Edited as start")).to_be_visible()
    page.get_by_role("link", name="Chat").click()
    expect(answer(page)).to_contain_text("You said: Good evening")


@scene("two branches are compared step by step")
def compare(stage: Stage) -> None:
    page = stage.open()
    field = editing(page, "Good morning")
    field.fill(field.input_value().replace("Good morning", "Good night"))
    page.get_by_role("button", name="Save and run").click()
    expect(rows(page)).to_have_count(7)
    page.get_by_role("link", name="Compare branches").click()
    pairs = page.locator(".pairs > li")
    expect(pairs).to_have_count(3)
    expect(pairs.nth(0)).to_contain_text("Edited as start")
    expect(pairs.nth(1)).to_contain_text("messages[0].content")
    expect(pairs.nth(1).locator(".was").first).to_contain_text("Good morning")
    expect(pairs.nth(1).locator(".is").first).to_contain_text("Good night")


@scene("a marked step is compared with one of another session")
def compare_sessions(stage: Stage) -> None:
    page = stage.open()
    send(page, "One thing")
    done(page)
    inspected(page)
    page.get_by_role("button", name="Mark for comparison").click()
    page.get_by_role("button", name="New session", exact=True).click()
    send(page, "Another thing")
    done(page)
    inspected(page)
    page.get_by_role("link", name=re.compile("Compare with")).click()
    expect(page.get_by_text("They have no step in common")).to_be_visible()
    expect(page.locator(".pairs")).to_contain_text("Another thing")


@scene("a session is copied at a step, and the copy goes on by itself")
def copy(stage: Stage) -> None:
    page = stage.open()
    send(page, "Good morning")
    done(page)
    thread = inspected(page)
    page.get_by_role("button", name="Copy to a new session").click()
    expect(page).not_to_have_url(re.compile(thread))
    expect(page.get_by_role("heading", name="Good morning (copy)")).to_be_visible()
    page.get_by_role("link", name="Chat").click()
    send(page, "And now?")
    expect(answer(page)).to_contain_text("You said: And now?")


@scene("without --edit the inspector only shows, and says how it is turned on")
def read_only(stage: Stage) -> None:
    with stage.serving(target(), edit=False) as server:
        page = stage.open(of=server)
        send(page, "Hello")
        done(page)
        thread = inspected(page)
        expect(page.get_by_text("stategraph dev --edit")).to_be_visible()
        expect(panel(page, "Changes")).to_be_visible()
        for name in ("Rerun from here", "Edit state", "Copy to a new session"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
        refused = page.evaluate(
            "async (thread) => (await fetch(`/api/inspector/threads/${thread}/branches`, {method: 'POST', "
            "headers: {'Content-Type': 'application/json'}, body: '{}'})).status",
            thread,
        )
        assert refused == 403


@scene("threads are found by title, id and status")
def threads(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay 12")
    expect(card(page)).to_be_visible()
    thread = inspected(page)
    page.goto(stage.server.address + "/#/inspector")
    search = page.get_by_label("Search threads by title or id")
    search.fill("pay 12")
    table = page.get_by_role("table")
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table.locator("tbody tr")).to_contain_text("Waiting")
    search.fill(thread)
    expect(table.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_text("No thread is like this.")).to_be_visible()
    page.get_by_label("Status").select_option("interrupted")
    table.get_by_role("link").first.click()
    expect(rows(page).first).to_contain_text("waits")


@scene("the inspector is used by keyboard alone")
def keyboard(stage: Stage) -> None:
    page = stage.open()
    send(page, "look tides")
    done(page)
    inspected(page)
    rows(page).first.focus()
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1)).to_be_focused()
    expect(page.locator("#step-title")).to_have_text("ada")
    page.keyboard.press("End")
    expect(page.locator("#step-title")).to_have_text("Input")
    expect(rows(page).last).to_have_attribute("aria-current", "step")
    page.get_by_role("tab", name="Changes").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="State")).to_be_focused()
    expect(page.get_by_role("tab", name="State")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+Home")


@scene("the inspector fits a small phone: steps, then one of them, and back")
def phone(stage: Stage) -> None:
    page = stage.open(viewport=SMALL, has_touch=True)
    send_by_touch(page, "look tides")
    done(page)
    inspected(page)
    expect(page.locator("#step-title")).to_be_hidden()
    row(page, "ada").click()
    expect(page.locator("#step-title")).to_be_visible()
    expect(rows(page).first).to_be_hidden()
    for title in ("Changes", "State", "Tasks", "Details", "Events"):
        panel(page, title)
        assert page.evaluate("document.documentElement.scrollWidth") <= SMALL["width"], title
    page.get_by_role("link", name="All steps").click()
    expect(rows(page).first).to_be_visible()
    page.goto(stage.server.address + "/#/inspector")
    expect(page.get_by_role("table").get_by_role("link").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= SMALL["width"]


@scene("no serious finding of accessibility in the inspector, in both themes")
def accessible(stage: Stage) -> None:
    for colours in ("light", "dark"):
        page = stage.open(color_scheme=colours, viewport=WIDE if colours == "light" else PHONE)
        send(page, "pay 3")
        expect(card(page)).to_be_visible()
        thread = inspected(page)
        if colours == "dark":
            rows(page).first.click()
        for title in ("Changes", "State", "Tasks", "Details", "Events"):
            panel(page, title)
            assert axe.serious(page) == [], (colours, title)
        page.get_by_role("button", name="Edit state").click()
        page.get_by_label("Value to edit").select_option("messages")
        expect(page.get_by_label("messages", exact=True)).to_be_visible()
        assert axe.serious(page) == [], (colours, "edit")
        page.get_by_role("button", name="Save as a branch").click()
        assert axe.serious(page) == [], (colours, "edit with a mistake")
        page.goto(f"{stage.server.address}/#/inspector/{thread}")
        page.goto(f"{stage.server.address}/#/inspector")
        expect(page.get_by_role("table")).to_be_visible()
        assert axe.serious(page) == [], (colours, "threads")


@scene("what a thread holds is never run, and markup in it is text")
def hostile(stage: Stage) -> None:
    page = stage.open()
    send(page, "hostile please")
    expect(answer(page)).to_contain_text("120 tokens")
    inspected(page)
    for title in ("Changes", "State", "Tasks", "Details", "Events"):
        panel(page, title)
    row(page, "ada").click()
    expect(panel(page, "State")).to_contain_text("<script>window.hacked = 1</script>")
    expect(page.locator("#panel").locator("script, iframe, img, style, a[href^='javascript']")).to_have_count(0)
    assert page.evaluate("window.hacked") is None


@scene("names of nodes, keys and values that try to run scripts are text, also in the picture")
def hostile_graph(stage: Stage) -> None:
    with stage.serving(marked_up()) as server:
        page = stage.open(of=server)
        send(page, "Hello")
        done(page)
        inspected(page)
        expect(row(page, re.escape(MARKUP))).to_be_visible()
        expect(page.locator(f'.graph [data-node="{MARKUP}"] text')).to_have_text(MARKUP)
        for title in ("Changes", "State", "Tasks", "Details"):
            panel(page, title)
        expect(panel(page, "State")).to_contain_text("<img src=x onerror=")
        page.get_by_role("button", name="Edit state").click()
        page.get_by_label("Value to edit").select_option("note")
        expect(page.get_by_label("note", exact=True)).to_have_value(re.compile("onerror"))
        expect(page.locator(".inspector").locator("script, iframe, img, style, foreignObject")).to_have_count(0)
        assert page.evaluate("window.hacked") is None


@scene("a room of the page adds a panel with one call")
def panels(stage: Stage) -> None:
    page = stage.open()
    send(page, "Hello")
    done(page)
    page.evaluate(
        """async () => {
          const { register } = await import("/static/js/inspector/panels.js");
          const { html } = await import("/static/js/lib.js");
          register({ id: "costs", title: "Costs", count: () => 7, view: ({ step }) => html`Step ${step.step}` });
          register({ id: "none", title: "Absent", applies: () => false, view: () => html`` });
        }"""
    )
    inspected(page)
    expect(panel(page, "Costs 7")).to_have_text("Step 2")
    expect(page.get_by_role("tab", name="Absent")).to_have_count(0)


@scene("a thread of 1,000 steps and 500 messages with a value of 1 MB stays usable")
def large(stage: Stage) -> None:
    async def fill(runtime: Any) -> str:
        thread = await runtime.threads.create(title="A long story")
        run = await runtime.create_run(run_id="fill", **target())
        graph = run.graph.compiled
        config = {"configurable": {"thread_id": thread.id}}
        for at in range(1_000):
            await graph.aupdate_state(config, {"active_agent": f"a{at}"}, as_node="ada")
        said = [(HumanMessage if at % 2 else AIMessage)(f"number {at}", id=f"m{at}") for at in range(499)]
        said.append(AIMessage("x" * 1_000_000, id="m499"))
        await graph.aupdate_state(config, {"messages": said}, as_node="ada")
        for at in range(10):
            await graph.aupdate_state(config, {"active_agent": f"b{at}"}, as_node="ada")
        return str(thread.id)

    thread = stage.server.call(fill)
    page = stage.open(f"/#/inspector/{thread}")
    expect(rows(page)).to_have_count(25)
    expect(panel(page, "Changes")).to_contain_text("b9")
    page.get_by_role("button", name="Show earlier steps").click()
    expect(rows(page)).to_have_count(50)
    state = panel(page, "State")
    expect(state.get_by_role("article")).to_have_count(20)
    expect(state).to_contain_text("996 thousand characters more")
    state.get_by_role("button", name=re.compile("Show earlier messages")).click()
    expect(state.get_by_role("article")).to_have_count(100)
