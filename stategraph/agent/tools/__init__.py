"""The calls of a model's answer, executed: which tools run where, one call, all calls of an answer.

It must never know how a model is called, or where a tool that it is given comes from.
"""
