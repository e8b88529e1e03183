"""Roots of trust as files."""
