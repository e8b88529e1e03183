"""A client of registries (OCI distribution specification 1.1): push, pull, and what goes wrong with them."""
