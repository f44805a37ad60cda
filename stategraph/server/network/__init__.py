"""The server on its network: its certificate, and its place in the directory of a fleet.

This package must never know a protocol, a run or who asks: it knows addresses, and the settings of the server.
"""
