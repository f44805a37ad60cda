"""Runs as a chat backend sees them: events, the content parts to store, and stored content as messages again.

So far this room holds the pure part: the events' names and payloads, the aggregator and the formatting of a history.
It must never know how a graph executes, nor how a model is reached: it sees events and messages alone.
"""
