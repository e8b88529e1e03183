"""Secrets that values of a site refer to: one protocol, and one module for each store."""
