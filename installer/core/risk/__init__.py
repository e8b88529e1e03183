"""What a release does with the rights of root, and what it opens: rules over its own files, pure."""
