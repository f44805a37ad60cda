"""Workflows: their steps checked, brought to one spelling, and made the nodes and edges of a graph."""
