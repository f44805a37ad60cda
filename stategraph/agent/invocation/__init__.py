"""How one model or one tool is invoked: directly or in LangChain's way, with the arguments that the graph injects.

It must never know an agent, its settings or which calls belong together.
"""
