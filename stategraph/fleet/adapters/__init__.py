"""Agents of other frameworks, each in a process and an environment of its own, served over A2A 1.0.

- An `Adapter` wraps an agent of a framework; `frameworks` has one for each framework of Python, `node` that of Mastra.
- A host (`python -m stategraph.fleet.adapters`) serves one adapter. It runs in the framework's environment and needs
  nothing but `a2a-sdk[http-server]` and `uvicorn` there.
- A `Supervisor` starts hosts, starts them again, and registers them in a directory. It runs in stategraph's own.

Nothing that a host imports may need stategraph's own dependencies: no `stategraph.errors`, no LangChain, no pydantic.
"""

from stategraph.lazy_names import loader as _loader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stategraph.fleet.adapters.port import About as About
    from stategraph.fleet.adapters.port import Adapter as Adapter
    from stategraph.fleet.adapters.port import AdapterError as AdapterError
    from stategraph.fleet.adapters.port import Conversation as Conversation
    from stategraph.fleet.adapters.port import Fact as Fact
    from stategraph.fleet.adapters.port import Question as Question
    from stategraph.fleet.adapters.port import Said as Said
    from stategraph.fleet.adapters.port import Sessions as Sessions
    from stategraph.fleet.adapters.port import Turn as Turn
    from stategraph.fleet.adapters.port import Usage as Usage
    from stategraph.fleet.adapters.supervisor import Launch as Launch
    from stategraph.fleet.adapters.supervisor import Restarts as Restarts
    from stategraph.fleet.adapters.supervisor import Supervisor as Supervisor

_PUBLIC = {
    "port": (
        "About",
        "Adapter",
        "AdapterError",
        "Conversation",
        "Fact",
        "Question",
        "Said",
        "Sessions",
        "Turn",
        "Usage",
    ),
    "supervisor": ("Launch", "Restarts", "Supervisor"),
}
__all__, __getattr__ = _loader(globals(), _PUBLIC)
