"""What a terminal and a session do to a command: signals, standard streams, characters, progress."""
