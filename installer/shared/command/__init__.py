"""One run of a command: its words and options, whom it talks to, and what becomes known of it."""
