"""The values of a host as layers: how they are merged, which keys exist, what `--set` may say."""
