"""Events, run steps and content parts, made from the reports of agents.

It must never decide anything about a run: it hears facts, tells handlers, and keeps the log that readers come back to.
"""
