"""Files that steps render into the directory of the release, next to the files that use them."""
