"""An MCP server that asks people, samples, and keeps state, for tests to start as `server.py` is."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import server as specimen
from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.shared.exceptions import MCPError, UrlElicitationRequiredError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitRequestURLParams, InputRequiredResult
from pydantic import BaseModel, Field

server = specimen.server
made: list[str] = []
kept: dict[str, str] = {}
agreed: list[str] = []


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Order(BaseModel):
    size: str = Field(json_schema_extra={"enum": ["small", "large"]})
    number: int = Field(default=1, ge=1, le=9)


class Address(BaseModel):
    street: str = Field(min_length=3)


async def ask_order(item: str) -> Elicit[Order]:
    return Elicit(f"Which {item}?", Order)


async def ask_address(order: Annotated[ElicitationResult[Order], Resolve(ask_order)]) -> Any:
    if not isinstance(order, AcceptedElicitation):
        return order
    return Elicit(f"Where to, with {order.data.number}?", Address)


@server.tool(structured_output=False)
async def order(item: str, order: Annotated[ElicitationResult[Order], Resolve(ask_order)]) -> str:
    """Order something."""
    if not isinstance(order, AcceptedElicitation):
        return f"not ordered: {order.action}"
    made.append(item)
    return f"{order.data.number} {order.data.size} {item}"


@server.tool(structured_output=False)
async def deliver(
    ctx: Context,
    item: str,
    order: Annotated[Order, Resolve(ask_order)],
    address: Annotated[Address, Resolve(ask_address)],
) -> str:
    """Order something and say where to."""
    await ctx.report_progress(1, 1, "on its way")
    made.append(item)
    return f"{order.number} {order.size} {item} to {address.street}"


@server.tool(structured_output=False)
async def whim(item: str) -> str:
    """Ask something else each time."""
    raise MCPError(code=-32603, message="only the old protocol has whims")


begun: list[str] = []


def ask(message: str, name: str) -> ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


if not specimen.OLD:

    @server.tool(structured_output=False)
    async def book(ctx: Context, item: str, stubborn: bool = False) -> str | InputRequiredResult:
        """Order something in two rounds of questions, the second of two at once; say how often this was begun."""
        found = {key: each.content for key, each in (ctx.input_responses or {}).items()}
        step, _, size = (ctx.request_state or "").partition(" ")
        if step == "":
            begun.append(item)
            return InputRequiredResult(input_requests={"first": ask(f"Which {item}?", "size")}, request_state="1")
        if step == "1":
            asked = {"b": ask("Which street?", "street"), "a": ask("Which door?", "door")}
            state = f"2 {found['first']['size']}" + "x" * (70_000 if stubborn else 0)
            return InputRequiredResult(input_requests=asked, request_state=state)
        return f"{size[:5].strip('x')} {item} to {found['b']['street']} {found['a']['door']}, begun {begun.count(item)}"


if specimen.OLD:

    class Yes(BaseModel):
        yes: bool

    server.remove_tool("whim")
    started = []

    @server.tool(structured_output=False)
    async def whim(ctx: Context, item: str) -> str:
        """Ask something else each time."""
        started.append(item)
        answer = await ctx.elicit(f"Pay {10 ** kept_count()} for {item}?", Yes)
        return answer.action

    @server.tool(structured_output=False)
    async def visit(ctx: Context, url: str) -> str:
        """Have a page opened."""
        return (await ctx.elicit_url("Please sign in", url, "e-1")).action

    @server.tool(structured_output=False)
    async def locked() -> str:
        """Refuse until a page was opened."""
        if not agreed:
            agreed.append("asked")
            page = ElicitRequestURLParams(
                message="Sign in first", url="https://pay.example.com/in", elicitation_id="e-2"
            )
            raise UrlElicitationRequiredError([page])
        return "open"

    @server.tool(structured_output=False)
    async def imagine(ctx: Context) -> str:
        """Ask for a model and for roots, and say what came of it."""
        said = []
        for ask in (
            lambda: ctx.session.create_message([], max_tokens=1),
            lambda: ctx.session.list_roots(),
        ):
            try:
                await ask()
            except MCPError as error:
                said.append(f"{error.code}: {error.message}")
        return "; ".join(said)


def kept_count() -> int:
    """How often this has been asked by any process: the number is kept in a file."""
    path = specimen.os.environ["COUNTER"]
    try:
        with open(path) as file:
            number = int(file.read())
    except FileNotFoundError:
        number = 0
    with open(path, "w") as file:
        file.write(str(number + 1))
    return number


@server.tool(structured_output=False)
def orders() -> str:
    """Say what was ordered."""
    return ",".join(made)


@server.tool(structured_output=False)
def remember(name: str, value: str) -> str:
    """Keep a value."""
    kept[name] = value
    return "kept"


@server.tool(structured_output=False)
def recall(name: str) -> str:
    """Return a value that was kept, and who kept it."""
    return f"{kept.get(name)} in {specimen.os.getpid()}"


if __name__ == "__main__":
    specimen.main()
