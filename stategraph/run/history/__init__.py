"""History between turns: stored content as messages again, the remains of a broken turn, titles.

It must never know a running execution: it is given messages and a thread.
"""
