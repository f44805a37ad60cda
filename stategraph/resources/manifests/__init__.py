"""Manifests as people work on them: checked, compared, explained, formatted; and resources described.

It stands on stores' values, kinds and references alone. It must never write to a store, or know controllers.
"""
