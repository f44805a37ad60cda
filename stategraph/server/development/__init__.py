"""The chat page of `stategraph.dev` with LangGraph's API beside it: `stategraph dev`.

    application.py  both as one ASGI application

One person on one machine: no users, no keys, no limits. What `stategraph serve` has beside this is not its business.
"""
