"""From facts of agents to numbered events, run steps and content parts.

It must never decide anything about a run: it hears facts, tells handlers, and keeps the log that readers come back to.
"""
