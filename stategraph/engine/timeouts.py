"""Time limits of an attempt.  (Filled in beside this skeleton's caller in attempt.py.)"""
