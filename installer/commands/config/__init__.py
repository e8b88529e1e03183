"""The verbs of `install config`: the values of a host for a release, where each comes from, what is wrong."""
