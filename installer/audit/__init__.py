"""The audit log, its recorder, and the evidence of verifications and removals."""
