"""Templates of a release: one template, its sandbox, and all of a release in a bounded child process."""
