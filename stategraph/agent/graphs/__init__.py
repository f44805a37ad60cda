"""Agents as graphs: a single one, or several with edges, joins and handoffs.

The top of the room. It must never know who runs a graph or listens to it.
"""
