"""The command line of `install`: the only place that prints, asks and exits."""
