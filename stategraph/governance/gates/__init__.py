"""Ways into the pipeline for programs that are there: agents, tool nodes, and LangChain's agents.

- `agents` has the gate and the host for agents of this package, and for graphs whose tools `run_tool` executes.
- `toolnode` has wrappers for `langgraph.prebuilt.ToolNode` and `create_react_agent`.
- `middleware` has a middleware for LangChain's `create_agent`; it needs `langchain`.

Each turns a call of a model into an `ActionRequest`, and an outcome into what its program expects. None decides.
"""
