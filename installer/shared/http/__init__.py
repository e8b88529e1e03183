"""HTTP to servers of a site: own certificates, nothing from the environment, bounded in time and size."""
