"""Child processes: how they are started and bounded, their environment, and their engine."""
