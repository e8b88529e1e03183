"""What is recorded of a single release, and what is stored of it."""
