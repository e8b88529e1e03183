"""The standalone executables: frozen, checked and packed into one file each."""
