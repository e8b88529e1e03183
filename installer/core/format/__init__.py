"""The bundle format: the one reader of bundles, the manifest, the signed list."""
