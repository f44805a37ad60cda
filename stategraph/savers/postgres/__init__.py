"""Savers on PostgreSQL."""
