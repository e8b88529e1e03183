"""The images that the files of a release use: one finder for each kind of source, all pure but for Helm."""
