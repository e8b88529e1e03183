"""Container images: the documents of OCI's and Docker's formats, and image references."""
