"""Directories that travel as a whole with a step: charts, and the files of playbooks."""
