"""Container images: into an engine or a directory, durably, and out again."""
