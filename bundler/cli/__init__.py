"""The command line of `bundle`: the only place that prints, asks and exits."""
