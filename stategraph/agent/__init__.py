"""Agents: models and tools as nodes of graphs, what a model is sent, and what its answers mean for the next call.

Agents are built with the public graph API and tell what they do through ports (`stategraph.agent.ports`). This room
must never know who watches a run, who executes a host's tools, or who decides about a call: no event, handler or
content part here.
"""
