"""Configuration files: the commands that check them before a change, and what happens after one."""
