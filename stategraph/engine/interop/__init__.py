"""LangGraph's private helpers, for the drop-in and for packages that import them by LangGraph's names.

Nothing in the engine imports this package; it must never know more of the engine than those helpers need.
"""
