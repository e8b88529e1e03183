"""The host: the one facade through which it is read and changed."""
