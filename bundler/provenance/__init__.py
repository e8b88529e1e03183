"""Provenance: who built a bundle, from which sources."""
