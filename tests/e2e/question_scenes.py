"""What a turn asks for or ends at, several agents, and narrow screens."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.e2e import target
from tests.e2e.chat_scenes import at, card, done
from tests.e2e.stage import WIDE, Stage, answer, scene, send

#: Widths of the smallest phones in use, and of many.
NARROW = (320, 375)


@scene("a server's question with a form is filled in, and what does not fit is pointed out")
def elicitation(stage: Stage) -> None:
    page = stage.open()
    send(page, "order tea")
    asked = page.get_by_role("region", name="shop asks")
    expect(asked).to_contain_text("How many boxes of tea?")
    expect(asked).to_contain_text("How many you want")
    asked.get_by_role("button", name="Accept").click()
    expect(asked).to_be_visible()  # the browser asks for what is missing
    asked.get_by_label("Boxes").fill("0")
    asked.get_by_label("Size").select_option("Large")
    asked.get_by_label("Wrapped").check()
    asked.get_by_role("button", name="Accept").click()
    expect(page.get_by_role("alert")).to_contain_text("'boxes' is 0; at least 1 expected")
    page.reload()  # the question is still open
    asked.get_by_label("Boxes").fill("3")
    asked.get_by_label("Size").select_option("Large")
    asked.get_by_label("Wrapped").check()
    asked.get_by_role("button", name="Accept").click()
    expect(answer(page)).to_contain_text('accept: {"boxes": 3, "size": "l", "wrapped": true}')
    expect(asked).to_have_count(0)


@scene("a server's question is declined")
def declined(stage: Stage) -> None:
    page = stage.open()
    send(page, "order coffee")
    page.get_by_role("region", name="shop asks").get_by_role("button", name="Decline").click()
    expect(answer(page)).to_contain_text("The result is: decline: null")


@scene("a limit that is reached asks: it is raised, and the answer goes on")
def limit_raised(stage: Stage) -> None:
    page = stage.open()
    send(page, "loop 5")
    asked = page.get_by_role("region", name="A limit is reached")
    expect(asked).to_contain_text("Tool calls: 3 of 3 are used")
    expect(asked.get_by_label("Raise to")).to_have_value("6")
    asked.get_by_role("button", name="Raise").click()
    expect(answer(page)).to_contain_text('The result is: {"topic": "part 5", "found": 3}')
    expect(answer(page).locator("details.tool")).to_have_count(5)


@scene("a limit that is reached asks: the turn is ended, and says why")
def limit_ends(stage: Stage) -> None:
    page = stage.open()
    send(page, "loop 5")
    asked = page.get_by_role("region", name="A limit is reached")
    asked.get_by_role("button", name="End the turn").click()
    expect(answer(page)).to_contain_text("The turn was ended: tool calls limit.")
    expect(asked).to_have_count(0)
    send(page, "And now?")
    expect(answer(page)).to_contain_text("You said: And now?")


@scene("a turn that costs too much ends, and says why")
def budget(stage: Stage) -> None:
    with stage.serving(target.with_a_budget()) as server:
        page = stage.open(of=server)
        send(page, "loop 9")
        expect(answer(page)).to_contain_text("The turn was ended: cost limit.")
        expect(answer(page).locator("details.tool").first).to_be_visible()
        assert not at(page, "budget")


@scene("a turn of too many steps fails, and says what can be done")
def recursion(stage: Stage) -> None:
    with stage.serving(target.with_few_steps()) as server:
        page = stage.open(of=server)
        send(page, "loop 9")
        expect(page.get_by_role("alert")).to_contain_text("GraphRecursionError")
        expect(page.get_by_role("alert")).to_contain_text(
            re.compile("Recursion limit of 4 reached.*recursion_limit", re.DOTALL)
        )
        assert not at(page, "recursion")


@scene("of several agents each is named, also after the page was loaded again")
def several(stage: Stage) -> None:
    with stage.serving(target.several()) as server:
        page = stage.open(of=server)
        send(page, "Where is my order?")
        for _ in range(2):
            expect(answer(page)).to_contain_text("Your order is on its way.")
            names = answer(page).locator(".agent")
            expect(names).to_have_text(["Ada", "Orders department"])
            expect(answer(page).locator("details.tool")).to_contain_text("Hand over to orders")
            page.reload()
        assert not at(page, "several agents")


@scene("on the narrowest phones no step, approval or form is wider than the screen")
def narrow(stage: Stage) -> None:
    for width in NARROW:
        page = stage.open(viewport={"width": width, "height": 700})
        send(page, "look " + "tides of the North Sea " * 6)
        done(page)
        assert_inside(page, width)
        answer(page).locator("details.tool > summary").click()
        assert_inside(page, width)
        send(page, "move " + "x" * 90)
        expect(card(page)).to_be_visible()
        expect(answer(page).locator("details.tool > summary .state")).to_have_text("waits")
        assert_inside(page, width)
        card(page).get_by_role("button", name="Edit").click()
        expect(page.get_by_label("Arguments as JSON")).to_be_focused()
        assert_inside(page, width)
        page.get_by_role("textbox", name=re.compile("Decide above")).fill("order tea")
        page.keyboard.press("Enter")
        expect(page.get_by_role("region", name="shop asks")).to_be_visible()
        assert_inside(page, width)
        page.get_by_role("region", name="shop asks").get_by_role("button", name="Cancel").click()
        done(page)
        send(page, "loop 5")
        expect(page.get_by_role("region", name="A limit is reached")).to_be_visible()
        assert_inside(page, width)


def assert_inside(page: Page, width: int) -> None:
    """See that nothing of the conversation reaches out of the screen."""
    wide = page.evaluate(
        """(width) => [...document.querySelectorAll(".talk *")]
          .filter((each) => !each.closest(".scroll, pre, .unseen") && each.getBoundingClientRect().right > width + 0.5)
          .map((each) => `${each.tagName}.${each.className}: ${each.getBoundingClientRect().right}`)""",
        width,
    )
    assert not wide, wide[:3]
    assert page.evaluate("document.querySelector('.scroller').scrollWidth") <= width


@scene("questions with forms and limits have no serious findings of accessibility, in both themes")
def accessible_questions(stage: Stage) -> None:
    found = []
    for colours in ("light", "dark"):
        for size in (WIDE, {"width": NARROW[0], "height": 700}):
            page = stage.open(color_scheme=colours, viewport=size)
            for text, name in (
                ("order tea", "shop asks"),
                ("ask me", "Tea or coffee?"),
                ("loop 5", "A limit is reached"),
            ):
                page.get_by_role("textbox", name=re.compile("Message Ada|Decide above")).fill(text)
                page.keyboard.press("Enter")
                expect(page.get_by_role("region", name=name)).to_be_visible()
                found += at(page, f"{colours} {size['width']} {name}")
    assert not found, "\n".join(dict.fromkeys(found))
