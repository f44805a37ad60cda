"""Policies of other engines: Cedar and Casbin, behind the same port as policies of rules.

Each engine's package is imported where a policy of it is made. It must never know rules in CEL or their files.
"""
