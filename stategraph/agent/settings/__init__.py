"""Settings of agents, validated with errors in plain sentences, and secrets kept out of every text.

It must never know how a setting is used: no model, tool or graph is made here.
"""
