"""What a removal takes off the host, what it leaves, and which data it deletes if it is told to."""
