"""What is made of the definitions of a command line: help, completion of shells, manual pages."""
