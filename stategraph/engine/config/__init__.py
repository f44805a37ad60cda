"""RunnableConfig in and out, and what a node is handed when it runs.

The lowest package of the engine. It must never know nodes, tasks, runs or savers: everything in it is a value of the
caller, of LangChain or of an installed LangGraph, or, as `procedures`, knows nothing of graphs at all.
"""
