"""One run of a command: its words and options, how it talks to a person, and its record."""
