"""bundle.yaml: read, checked and filled in for one version."""
