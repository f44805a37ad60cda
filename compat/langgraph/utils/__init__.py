"""Older home of helpers."""
