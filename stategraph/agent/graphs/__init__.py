"""Agents as graphs: a single one, or several with edges, joins and handoffs.

The top of `stategraph.agent`. It must never know the caller of a graph or its listeners.
"""
