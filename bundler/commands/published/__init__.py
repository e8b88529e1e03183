"""Bundles to and from a registry or a web server of the site."""
