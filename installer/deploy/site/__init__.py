"""What a site has besides its hosts: where images go, and by which references clusters take them."""
