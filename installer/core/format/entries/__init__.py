"""What single entries of the manifest may say."""
