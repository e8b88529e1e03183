"""What a reviewer sees of a release before it is approved or applied; for both commands."""
