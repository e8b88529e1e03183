"""The commands of `install`, one verb a file, callable without a terminal."""
