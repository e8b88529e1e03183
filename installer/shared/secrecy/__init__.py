"""What is secret, where text contains it, and how it is hidden."""
