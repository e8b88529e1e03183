"""What a host knows: its releases, the state of each product, its trust."""
