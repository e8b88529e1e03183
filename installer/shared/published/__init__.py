"""Bundles in a registry or on a web server of the site: where they are, and how they are read again."""
