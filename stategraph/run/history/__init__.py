"""From one turn to the next: stored content as messages again, what is left of a broken turn, titles.

It must never know a running execution: it is given messages and a thread.
"""
