"""Keeps resources: `port` is the interface.

A store knows keys, versions and JSON. It must never know kinds' models, controllers or what a spec becomes.
"""
