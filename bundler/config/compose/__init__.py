"""Compose projects as they are written: their files, what these refer to, the images, the schema."""
