"""Documents in a store, a kind of one's own with its controller, and a bad document that stops nothing.

Prints::

    apply: greeting/default/hello created, greeting/default/twice created, secret/default/token created
    hello: Ready, 'Hello, Ann!'
    twice: Ready, 'Hello, Ann! Hello, Ann!'
    a typo: manifest.yaml:4:8: unknown field 'texxt'; did you mean 'text'?
    hello: Degraded, and still 'Hello, Ann!'
    corrected: 'Good evening, Ann!', so twice is 'Good evening, Ann! Good evening, Ann!'
    events: greeting.reconciled, secret.reconciled
    the network's state: {'calls': 3}
"""

import asyncio
import tempfile
from typing import Any, ClassVar

from stategraph.resources import Ctx, Kind, Reconciler, ReconcileResult, Resource, Runtime, load_text
from stategraph.resources.kinds.base import Ref, TargetSpec

MANIFESTS = """\
apiVersion: example.dev/v1
kind: Greeting
metadata: {name: twice}
spec: {repeats: hello}            # another greeting, in whatever order they come
---
apiVersion: example.dev/v1
kind: Greeting
metadata: {name: hello}
spec: {text: "Hello, ${NAME:-world}!"}
---
apiVersion: stategraph.dev/v1
kind: Secret
metadata: {name: token}
spec: {valueFrom: {env: TOKEN}}   # where the value is, never the value
"""

TYPO = """\
apiVersion: example.dev/v1
kind: Greeting
metadata: {name: hello}
spec: {texxt: Good evening}
"""


class GreetingSpec(TargetSpec):
    """The fields of the spec: others are errors, with a suggestion."""

    text: str = ""
    repeats: Ref | None = None


class Greetings(Reconciler):
    """Compiles a greeting to its text."""

    kind: ClassVar[str] = "Greeting"

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        spec: Any = ctx.parsed(resource)
        text = spec.text
        if spec.repeats is not None:
            other = await ctx.resolve(spec.repeats, "Greeting", path=("spec", "repeats"))
            text = " ".join([await ctx.compiled(other.key)] * 2)  # asked again when that changes
        return ReconcileResult(status={"characters": len(text)}, compiled=text)


GREETING = Kind("Greeting", "greetings", ("gr",), spec=GreetingSpec, group="example.dev")


async def show(runtime: Runtime, name: str) -> str:
    found = await runtime.get(f"greeting/{name}")
    assert found is not None
    return f"{name}: {found.status['phase']}"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime.from_url(
            f"sqlite:///{folder}/resources.db", environment={"NAME": "Ann", "TOKEN": "not to be told"}
        )
        runtime.define_kind(GREETING, Greetings())
        async with runtime:
            heard: set[str] = set()

            async def listen() -> None:
                async for event in runtime.bus.subscribe("*.reconciled"):
                    heard.add(event.topic)

            listening = asyncio.create_task(listen())
            await asyncio.sleep(0)
            applied = await runtime.load_from_string(MANIFESTS)
            print("apply:", ", ".join(sorted(f"{each.key} {each.action}" for each in applied)))
            print(f"{await show(runtime, 'hello')}, {runtime.compiled('greeting/hello')!r}")
            print(f"{await show(runtime, 'twice')}, {runtime.compiled('greeting/twice')!r}")

            (bad,) = await runtime.apply(load_text(TYPO, file="manifest.yaml", kinds=runtime.kinds))
            (problem,) = bad.problems
            print(f"a typo: {problem.place}: {problem.message}; did you mean '{problem.suggestion}'?")
            await runtime.settled()
            print(f"{await show(runtime, 'hello')}, and still {runtime.compiled('greeting/hello')!r}")

            await runtime.load_from_string(TYPO.replace("texxt: Good evening", 'text: "Good evening, ${NAME}!"'))
            hello, twice = (runtime.compiled(f"greeting/{name}") for name in ("hello", "twice"))
            print(f"corrected: {hello!r}, so twice is {twice!r}")
            listening.cancel()
            print("events:", ", ".join(sorted(heard)))

            state = runtime.states.network("network/default/support", ttl=3600)
            for _ in range(3):
                await state.update("calls", lambda calls: calls + 1, default=0)
            print("the network's state:", await state.all())


if __name__ == "__main__":
    asyncio.run(main())
