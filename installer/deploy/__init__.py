"""Deployment methods: one file each, one protocol."""
