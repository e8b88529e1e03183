"""What belongs to a file besides its name and its bytes, and what keeps root from replacing it."""
