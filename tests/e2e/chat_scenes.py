"""The chat page as a person uses it."""

from __future__ import annotations

import json
import re
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, messages_to_dict
from playwright.sync_api import Page, expect

from tests.e2e import axe
from tests.e2e.stage import PHONE, WIDE, Stage, answer, scene, send
from tests.e2e.target import GATES, LONG


def opened_session(page: Page) -> str:
    expect(page).to_have_url(re.compile("#/chat/.+"))
    return page.url.rpartition("/#")[2].join(["/#", ""])


def card(page: Page) -> Any:
    return page.get_by_role("region", name=re.compile("approval", re.IGNORECASE))


@scene("a message is answered, and the session is in the list")
def message(stage: Stage) -> None:
    page = stage.open()
    send(page, "Hello there")
    expect(answer(page)).to_contain_text("You said: Hello there")
    expect(page.get_by_role("navigation", name="Sessions").get_by_role("link", name="Hello there")).to_be_visible()
    opened_session(page)
    expect(answer(page)).to_contain_text("120 tokens · $0.00014")


@scene("text streams: the first half is shown while the model waits")
def stream(stage: Stage) -> None:
    page = stage.open()
    send(page, "hold stream")
    expect(answer(page)).to_contain_text("word30")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    assert "word31" not in page.inner_text("main")
    GATES["stream"].open()
    expect(answer(page).locator(".prose")).to_have_text(LONG)
    expect(page.get_by_role("button", name="Send")).to_be_visible()


@scene("reasoning and a tool step are folded, and open")
def tool_step(stage: Stage) -> None:
    page = stage.open()
    send(page, "look tides")
    expect(answer(page)).to_contain_text("The result is:")
    step = answer(page).locator("details.tool")
    expect(step).not_to_have_attribute("open", "")
    step.locator("summary").click()
    expect(step).to_contain_text('"topic": "tides"')
    expect(step).to_contain_text('"found": 3')
    thought = answer(page).locator("details.reasoning")
    expect(thought.get_by_text("I had better")).to_be_hidden()
    thought.locator("summary").click()
    expect(thought.get_by_text("I had better")).to_be_visible()
    page.reload()
    expect(answer(page)).to_contain_text("The result is:")
    expect(answer(page).locator("details.tool")).to_have_count(1)


@scene("a call is approved")
def approve(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay 7")
    expect(card(page)).to_contain_text("Money leaves the account.")
    card(page).get_by_role("button", name="Approve").click()
    expect(answer(page)).to_contain_text("The result is: paid 7")
    expect(card(page)).to_have_count(0)
    expect(page.get_by_role("article", name="Answer")).to_have_count(1)


@scene("a call is rejected, with a reason that the model reads")
def reject(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay 7")
    card(page).get_by_role("button", name="Reject").click()
    page.get_by_label(re.compile("Why")).fill("too dear")
    card(page).get_by_role("button", name="Reject").last.click()
    expect(answer(page)).to_contain_text("too dear")
    expect(answer(page).locator(".prose").last).not_to_contain_text("paid")


@scene("the arguments of a call are edited, after a mistake was pointed out")
def edit(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay 7")
    card(page).get_by_role("button", name="Edit").click()
    page.get_by_label("Arguments as JSON").fill('{"amount": 3')
    card(page).get_by_role("button", name="Approve with these").click()
    expect(card(page)).to_contain_text("This is not valid")
    page.get_by_label("Arguments as JSON").fill('{"amount": 3}')
    card(page).get_by_role("button", name="Approve with these").click()
    expect(answer(page)).to_contain_text("The result is: paid 3")


@scene("two calls are decided about one by one")
def two_calls(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay-twice now")
    expect(card(page)).to_contain_text("2 approvals needed")
    card(page).get_by_role("button", name="Approve", exact=True).first.click()
    expect(card(page)).to_contain_text("Decided: approve")
    card(page).get_by_role("button", name="Answer instead").click()
    page.get_by_label(re.compile("Result that the model")).fill("paid by hand")
    card(page).get_by_role("button", name="Send this result").click()
    expect(answer(page)).to_contain_text("The result is: paid by hand")


@scene("an answer that does not arrive leaves the calls to be decided about")
def lost_decision(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay-twice now")
    expect(card(page)).to_contain_text("2 approvals needed")
    refused = json.dumps({"error": "try again later"})
    page.route("**/answers", lambda route: route.fulfill(status=503, content_type="application/json", body=refused))
    card(page).get_by_role("button", name="Approve all").click()
    expect(page.get_by_text("try again later")).to_be_visible()
    expect(card(page)).not_to_contain_text("Decided")
    page.unroute("**/answers")
    card(page).get_by_role("button", name="Approve all").click()
    expect(answer(page)).to_contain_text("The result is: paid 2")


@scene("a question of a tool is answered")
def question(stage: Stage) -> None:
    page = stage.open()
    send(page, "ask me")
    asked = page.get_by_role("region", name="Tea or coffee?")
    asked.get_by_label("Coffee").check()
    asked.get_by_role("button", name="Answer").click()
    expect(answer(page)).to_contain_text("the person wants coffee")


@scene("an answer is stopped; what was said stays, and the next message is answered")
def stop(stage: Stage) -> None:
    page = stage.open()
    send(page, "hold stopped")
    expect(answer(page)).to_contain_text("word30")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(answer(page)).to_contain_text("You stopped this answer")
    expect(answer(page)).to_contain_text("word30")
    send(page, "And now?")
    expect(answer(page)).to_contain_text("You said: And now?")
    page.reload()
    expect(answer(page, 0)).to_contain_text("You stopped this answer")


@scene("the page is loaded again in the middle of an answer, and goes on")
def reload(stage: Stage) -> None:
    page = stage.open()
    send(page, "hold reload")
    expect(answer(page)).to_contain_text("word30")
    page.reload()
    expect(answer(page)).to_contain_text("word30")
    expect(page.get_by_text("hold reload").last).to_be_visible()
    GATES["reload"].open()
    expect(answer(page).locator(".prose")).to_have_text(LONG)
    expect(page.locator("article")).to_have_count(2)


@scene("the connection is lost in the middle, and the answer goes on where it broke")
def lost_connection(stage: Stage) -> None:
    page = stage.open(direct=False)
    send(page, "hold lost")
    expect(answer(page)).to_contain_text("word30")
    stage.loop.run(stage.server.proxy.cut())
    expect(page.get_by_text("The connection was lost")).to_be_visible()
    GATES["lost"].open()
    stage.loop.run(stage.server.proxy.open())
    expect(answer(page).locator(".prose")).to_have_text(LONG)
    expect(page.get_by_text("The connection was lost")).to_be_hidden()
    expect(page.locator("article")).to_have_count(2)


@scene("a message that the server never got stays in the composer")
def unsent(stage: Stage) -> None:
    page = stage.open(direct=False)
    stage.loop.run(stage.server.proxy.cut())
    send(page, "Are you there?")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(page.get_by_role("textbox", name="Message Ada")).to_have_value("Are you there?")
    stage.loop.run(stage.server.proxy.open())
    page.keyboard.press("Enter")
    expect(answer(page)).to_contain_text("You said: Are you there?")


@scene("two tabs follow one answer, and a decision in one is seen in the other")
def two_tabs(stage: Stage) -> None:
    one = stage.open()
    send(one, "Hello")
    expect(answer(one)).to_contain_text("You said: Hello")
    other = stage.open(opened_session(one), like=one)
    expect(answer(other)).to_contain_text("You said: Hello")
    send(one, "hold tabs")
    for tab in (one, other):
        expect(answer(tab)).to_contain_text("word30")
    GATES["tabs"].open()
    for tab in (one, other):
        expect(answer(tab).locator(".prose")).to_have_text(LONG)
    send(other, "pay 9")
    for tab in (one, other):
        expect(card(tab)).to_be_visible()
    card(one).get_by_role("button", name="Approve").click()
    for tab in (one, other):
        expect(answer(tab)).to_contain_text("The result is: paid 9")
        expect(card(tab)).to_have_count(0)
        expect(tab.locator("article")).to_have_count(6)


@scene("the server is started again while a call waits; it is approved then")
def restart(stage: Stage) -> None:
    page = stage.open()
    send(page, "pay 11")
    expect(card(page)).to_be_visible()
    stage.server.stop()
    expect(page.get_by_text("The connection was lost")).to_be_visible()
    stage.server.start()
    expect(page.get_by_text("The connection was lost")).to_be_hidden()
    card(page).get_by_role("button", name="Approve").click()
    expect(answer(page)).to_contain_text("The result is: paid 11")
    expect(page.locator("article")).to_have_count(2)


@scene("an error of the model is shown, and the next message is answered")
def error(stage: Stage) -> None:
    page = stage.open()
    send(page, "fail now")
    expect(page.get_by_role("alert")).to_contain_text("the model is on fire")
    send(page, "Better?")
    expect(answer(page)).to_contain_text("You said: Better?")


@scene("an answer that tries to run scripts is text")
def hostile(stage: Stage) -> None:
    page = stage.open()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    send(page, "hostile please")
    expect(answer(page)).to_contain_text("120 tokens")
    expect(answer(page)).to_contain_text("<script>window.hacked = 1</script>")
    for link in answer(page).locator(".prose a").all():
        assert re.match(r"https?://", link.get_attribute("href") or "http://"), link.get_attribute("href")
        assert link.get_attribute("onclick") is None
    expect(answer(page).locator("script, iframe, img, svg:not(.icon), style")).to_have_count(0)
    page.reload()
    expect(answer(page)).to_contain_text("<script>window.hacked = 1</script>")
    assert page.evaluate("window.hacked") is None
    assert not [url for url in asked if "evil" in url]


@scene("a message that tries the same is text, as are its title and a file's name")
def hostile_message(stage: Stage) -> None:
    page = stage.open()
    text = "<img src=x onerror='window.hacked=1'>"
    page.locator("input[type=file]").set_input_files(
        {"name": '"><img src=x onerror=hacked=1>.txt', "mimeType": "text/plain", "buffer": b"<b>in the file</b>"}
    )
    send(page, text)
    expect(page.get_by_role("article", name="You")).to_contain_text(text)
    expect(page.get_by_role("heading", level=1)).to_have_text(text)
    expect(page.locator("main .turn img")).to_have_count(0)
    assert page.evaluate("window.hacked") is None


@scene("Markdown has its shapes, and code is copied")
def markdown(stage: Stage) -> None:
    page = stage.open(permissions=["clipboard-read", "clipboard-write"])
    send(page, "markdown please")
    prose = answer(page).locator(".prose")
    expect(prose.get_by_role("heading", name="Title")).to_be_visible()
    expect(prose.get_by_role("listitem")).to_have_count(2)
    expect(prose.get_by_role("table").get_by_role("cell")).to_have_count(2)
    expect(prose.get_by_role("cell", name="2")).to_have_css("text-align", "right")
    expect(prose.locator(".hljs-built_in")).to_have_text("print")
    prose.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == "print('hi')"


@scene("a session is renamed, found, and deleted after a question")
def sessions(stage: Stage) -> None:
    page = stage.open()
    send(page, "First words of this one")
    expect(answer(page)).to_contain_text("You said")
    row = (
        page.get_by_role("navigation", name="Sessions")
        .get_by_role("listitem")
        .filter(has_text="First words of this one")
    )
    row.hover()
    row.get_by_role("button", name="More for First words of this one").click()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("textbox", name="Title").fill("About the moon")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="About the moon")).to_be_visible()
    page.get_by_role("searchbox").fill("THE MOON")
    expect(page.get_by_role("navigation", name="Sessions").get_by_role("link")).to_have_count(1)
    page.get_by_role("button", name="More for About the moon").click()
    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("link", name="About the moon")).to_have_count(1)
    page.get_by_role("button", name="More for About the moon").click()
    page.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="About the moon")).to_have_count(0)
    expect(page).to_have_url(re.compile("#/chat$"))


@scene("files are sent along, and shown again")
def files(stage: Stage) -> None:
    page = stage.open()
    page.locator("input[type=file]").set_input_files(
        {"name": "figures.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"}
    )
    expect(page.get_by_role("form", name="Message")).to_contain_text("figures.csv")
    send(page, "Read this")
    expect(answer(page)).to_contain_text("You said: Read this")
    for _ in range(2):
        chip = page.get_by_role("article", name="You").locator("details")
        chip.locator("summary").click()
        expect(chip).to_contain_text("a,b")
        page.reload()
    page.locator("input[type=file]").set_input_files({"name": "x.zip", "mimeType": "application/zip", "buffer": b"\0"})
    expect(page.get_by_role("alert")).to_contain_text("this agent takes text/*, image/*")


@scene("a picture that a tool returns is shown, also after the page was loaded again")
def picture(stage: Stage) -> None:
    page = stage.open()
    send(page, "draw a dot")
    expect(answer(page).get_by_role("img")).to_have_js_property("naturalWidth", 1)
    page.reload()
    expect(answer(page).get_by_role("img")).to_have_js_property("naturalWidth", 1)


@scene("everything is done by keyboard")
def keyboard(stage: Stage) -> None:
    page = stage.open()
    page.keyboard.type("pay 5")
    page.keyboard.press("Enter")
    expect(card(page)).to_be_visible()
    reach(page, "Edit", backwards=True)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Arguments as JSON")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type('{"amount": 4}')
    reach(page, "Approve with these")
    page.keyboard.press("Enter")
    expect(answer(page)).to_contain_text("paid 4")
    expect(page.get_by_role("textbox", name="Message Ada")).to_be_focused()
    page.keyboard.type("hold keys")  # perhaps before the answer is complete: then it is sent at its end
    page.keyboard.press("Enter")
    expect(answer(page)).to_contain_text("word30")
    page.keyboard.press("Escape")
    expect(answer(page)).to_contain_text("You stopped this answer")
    page.keyboard.press("Control+Shift+O")
    expect(page).to_have_url(re.compile("#/chat$"))
    expect(page.get_by_role("textbox", name="Message Ada")).to_be_focused()
    page.keyboard.press("Escape")
    reach(page, "More for pay 5", backwards=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Rename")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="More for pay 5").first).to_be_focused()


def reach(page: Page, label: str, *, backwards: bool = False) -> None:
    """Press Tab until a button has the focus, whose ring is seen."""
    for _ in range(80):
        page.keyboard.press("Shift+Tab" if backwards else "Tab")
        named = page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.textContent ?? '').trim()")
        if named == label:
            ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert ring != "none", f"{label} shows no focus"
            return
    raise AssertionError(f"Tab does not come to {label!r}")


@scene("on a phone the list is a drawer, nothing is cut off, and touch sends")
def phone(stage: Stage) -> None:
    page = stage.open(viewport=PHONE, has_touch=True, is_mobile=True)
    send_by_touch(page, "markdown please")
    expect(answer(page).get_by_role("table")).to_be_visible()
    send_by_touch(page, "pay 12")
    expect(card(page)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.querySelector('.scroller').scrollWidth") <= PHONE["width"]
    menu = page.get_by_role("button", name="Sessions")
    expect(page.get_by_role("complementary", name="Sessions")).to_be_hidden()
    menu.tap()
    expect(page.get_by_role("button", name="New session")).to_be_visible()
    page.get_by_role("button", name="New session").tap()
    expect(page.get_by_role("button", name="New session")).to_be_hidden()
    expect(page.get_by_role("heading", name="New session")).to_be_visible()


def send_by_touch(page: Page, text: str) -> None:
    page.get_by_role("textbox", name=re.compile("Message|Decide")).fill(text)
    page.get_by_role("button", name="Send").tap()


@scene("a session of 500 messages opens, scrolls and goes on")
def long_session(stage: Stage) -> None:
    messages: list[Any] = []
    for number in range(250):
        messages.append(HumanMessage(f"Question {number}", id=f"q{number}"))
        messages.append(AIMessage(f"Answer **{number}**.\n\n```python\nprint({number})\n```", id=f"a{number}"))
    thread = stage.server.call(lambda runtime: imported(runtime, messages))
    page = stage.open(f"/#/chat/{thread}")
    expect(page.get_by_text("Answer 249.")).to_be_in_viewport()
    expect(page.locator("article")).to_have_count(500)
    took = page.evaluate(
        """async () => {
          const box = document.getElementById("scroller");
          const began = performance.now();
          box.scrollTop = 0;
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          return performance.now() - began;
        }"""
    )
    expect(page.get_by_text("Question 0", exact=True)).to_be_in_viewport()
    page.get_by_role("button", name="To the newest").click()
    expect(page.get_by_text("Answer 249.")).to_be_in_viewport()
    send(page, "One more")
    expect(answer(page)).to_contain_text("You said: One more")
    expect(answer(page)).to_be_in_viewport()
    print(f"      (a jump over 500 messages: {took:.0f} ms)")


async def imported(runtime: Any, messages: list[Any]) -> str:
    made = await runtime.threads.create()
    exported = await runtime.threads.export(made.id)
    await runtime.threads.delete(made.id)
    told = {**exported, "messages": messages_to_dict(messages)}
    return str((await runtime.threads.import_thread(told)).id)


@scene("an address of a session that is not there says so")
def missing(stage: Stage) -> None:
    page = stage.open()
    page.goto(f"{stage.server.address}/#/chat/none")
    expect(page.get_by_text("This session is not here")).to_be_visible()


@scene("the theme is chosen and stays")
def theme(stage: Stage) -> None:
    page = stage.open(color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


@scene("rules of accessibility find nothing serious, in both themes, wide and on a phone")
def accessible(stage: Stage) -> None:
    found = []
    for colours in ("light", "dark"):
        for size in (WIDE, PHONE):
            page = stage.open(color_scheme=colours, viewport=size)
            found += at(page, f"{colours} empty")
            for text in ("look tides", "markdown please", "fail now"):
                send(page, text)
                done(page)
            for step in page.locator("details").all():
                step.locator("summary").click()
            send(page, "pay 5")
            expect(card(page)).to_be_visible()
            card(page).get_by_role("button", name="Edit").click()
            found += at(page, f"{colours} {size['width']}")
            if size is PHONE:
                page.get_by_role("button", name="Sessions").click()
            page.get_by_role("button", name="More for look tides").first.click()
            found += at(page, f"{colours} {size['width']} menu")
            page.get_by_role("button", name="Delete").click()
            found += at(page, f"{colours} {size['width']} dialog")
    assert not found, "\n".join(dict.fromkeys(found))


def done(page: Page) -> None:
    """Wait until the newest message has its answer."""
    expect(page.locator("article").last.locator(".turn-foot, .note").first).to_be_visible()


def at(page: Page, where: str) -> list[str]:
    page.wait_for_timeout(250)  # colours fade in
    return [f"{where}: {each}" for each in axe.serious(page)]
