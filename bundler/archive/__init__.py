"""The bundle writer: deterministic, one read of every input, the head last."""
