"""Clients of what runs on the host: the Docker engine, and the image store in a directory."""
