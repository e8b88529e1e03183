"""Manifests of Kubernetes that a step applies as they are: what their files are called."""

from __future__ import annotations

from typing import Final

KIND: Final = "kubernetes"
"""The kind of these files in a bundle."""
SUFFIXES = (".yaml", ".yml", ".json")
"""How their names end."""
NAME = r"[^/]+\.(?:ya?ml|json)"
