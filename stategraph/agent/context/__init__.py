"""The context that a model is sent: counting, trimming, handoffs, and what is kept from one call to the next.

It must never call a model or a tool, and must not know which node asks.
"""
