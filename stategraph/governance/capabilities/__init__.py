"""Capabilities made of what a program has: functions, LangChain tools, MCP servers, agents, graphs and skills.

Each module makes `Offer`s: a capability, and how it is executed. A registry (`stategraph.governance.registry`) keeps
them; nothing here knows it, policies or approvals.
"""
