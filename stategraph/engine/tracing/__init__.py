"""Callback handlers: what LangChain's and our own are told about chains, tools and pauses.

It must never know what a node does or how a run is driven; it is told when something starts, ends or fails.
"""
