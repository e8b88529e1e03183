"""The standalone executables: their layout as one file, and what they report of themselves."""
