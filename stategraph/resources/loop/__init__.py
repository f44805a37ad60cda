"""The loop that brings about what is stored: a queue of keys, workers that reconcile them, and what they depend on.

It must never know kinds: what a resource becomes is its controller's. It knows the store by its interface.
"""
