"""Checks of what sites set: values for their environments and clusters, and the peers of a cluster."""
