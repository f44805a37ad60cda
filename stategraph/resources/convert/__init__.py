"""Manifests of others as resources: kagent's resources, CrewAI's declared flows, workflows of Argo.

A document becomes resources whose graph has the same steps and ways, or it is refused, with a reason for each construct
that has no counterpart: nothing is left out in silence. What runs in a container elsewhere becomes a tool that the
program registers under the name of its template.
"""

from __future__ import annotations

from stategraph.resources.convert.conversion import FORMATS, Conversion, Refusal, convert

__all__ = ("FORMATS", "Conversion", "Refusal", "convert")
