"""Models, resolved from what a host says and called, one route after the other; summaries.

It must never know how a tool is executed.
"""
