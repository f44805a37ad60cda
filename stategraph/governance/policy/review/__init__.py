"""Reviewing of policies: warnings, explanations of verdicts, and tables of cases, for those who write them.

Nothing here decides; it asks policies as hosts do.
"""
