"""From an authenticated request to a governed run: who asks, through which agent, with which servers and secrets.

`configuration` is what a host keeps of its agents, `secrets` resolves references to secrets inside a call, `requests`
makes sessions, and `asgi` is the door for ASGI applications. It imports no web framework.
"""
