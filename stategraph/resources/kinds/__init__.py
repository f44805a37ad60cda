"""The models of specs, one module for each kind; `stategraph.resources.kind_table` has the kinds by their names.

Models must never know stores, controllers or what a spec becomes.
"""

from stategraph.resources.kind_table import KINDS, Kind, KindTable

__all__ = ("KINDS", "Kind", "KindTable")
