"""Skills: folders with a SKILL.md, as the Agent Skills specification (agentskills.io) describes them.

A model is told names and descriptions, reads what it needs with a tool, and runs scripts only as capabilities of their
own. Nothing of a skill is imported; nothing outside of its folder is read. This package must never know registries of
capabilities, policies or models.
"""
