"""Runs of graphs that were written for LangGraph: `make runs`. Each graph's events are held against its own stream."""
