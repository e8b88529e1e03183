"""Variables of Compose files, and the environment files that set them."""
