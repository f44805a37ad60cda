"""Runs as a chat backend sees them: events in a stable order, the content to store, a way to stop, pause and resume.

This room listens to agents through the ports of the room below, and speaks to the host's handlers, hooks and readers.
It must never know how a graph executes or how a model is reached, nor import a provider, a saver or a server.
"""
