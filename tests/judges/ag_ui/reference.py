"""The reference: `ag-ui-langgraph` on LangGraph, with the same graphs; run in the judge's environment.

python reference.py PORT
"""

from __future__ import annotations

import sys

import graphs
import uvicorn
from ag_ui_langgraph import LangGraphAgent, add_langgraph_fastapi_endpoint
from fastapi import FastAPI

app = FastAPI()
for name, graph in graphs.ALL.items():
    add_langgraph_fastapi_endpoint(app, LangGraphAgent(name=name, graph=graph, emit_raw_events=False), f"/agui/{name}")


@app.get("/ok")
def ok() -> dict[str, bool]:
    return {"ok": True}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
