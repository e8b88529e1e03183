"""The commands of `bundle`, one verb a file, callable without a terminal."""
