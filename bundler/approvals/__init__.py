"""Approvals and other signed statements, in a bundle or next to it."""
