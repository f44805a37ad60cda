"""The controllers of the built-in kinds, one module each.

Each brings about what its kind declares, through `Ctx` alone: it must never know the store, the loop or other
controllers.
"""
