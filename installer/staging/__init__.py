"""Staging: verified bundle members on the disk before anything is switched."""
