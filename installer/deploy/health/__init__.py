"""Health checks: what they need on a host, how each is asked, and how a release is watched with them."""
