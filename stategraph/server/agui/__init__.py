"""AG-UI 1.0: `POST /agui/{assistant_id}` for CopilotKit and other front ends.

    routes.py     the endpoints
    request.py    `RunAgentInput` to a run of the service
    messages.py   messages of the protocol to those of LangChain, and back
    encoder.py    facts about a run to events of the protocol
    state.py      the state as the front end has it, and its changes as JSON Patch

Needs the extra `server` (`ag-ui-protocol`, `jsonpatch`). Specification: https://docs.ag-ui.com
"""

from stategraph.server.agui.routes import routes

__all__ = ("routes",)
