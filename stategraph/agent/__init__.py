"""Agents: what a model is sent and what its answers mean for the next call.

So far this room holds the pure part: which messages fit into a model's context, how long tool results may be, and what
reported usage says about the counts. It must never know who watches a run: no event, handler or content part here.
"""
