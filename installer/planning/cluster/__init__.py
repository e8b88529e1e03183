"""The cluster of a host: its members by the values, whether they answer, and whether enough of them stay."""
