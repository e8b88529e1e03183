"""Checks of `bundle create` before it reads anything large; each returns all its problems."""
