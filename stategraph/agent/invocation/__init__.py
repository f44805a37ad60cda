"""Invocation of one model or one tool: directly or in LangChain's way, with the arguments that the graph injects.

It must never know an agent, its settings or which calls belong together.
"""
