"""The bundle format: pure, shared by both commands, with no terminal and no engine.

Nothing here imports the rest of `installer` or any of `bundler`. Allowed beyond the standard library are
`cryptography`, `jsonschema` and `zstandard`.
"""
