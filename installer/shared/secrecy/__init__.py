"""What is secret, where text contains it, and how it is hidden."""

MASK = "***"
"""What is shown in place of a secret."""
