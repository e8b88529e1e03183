"""What is secret, where it stands, and how it is hidden."""
