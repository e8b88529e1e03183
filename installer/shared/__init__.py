"""What both commands use beyond the core."""
