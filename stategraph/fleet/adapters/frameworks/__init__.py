"""Adapters, a module for each framework: `adapter(agent, version)` returns the adapter of an agent.

Each imports its framework where it is needed. What these modules share is in `history` and in `messages`.
"""
