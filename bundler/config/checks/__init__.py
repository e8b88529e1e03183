"""What `bundle create` looks at before it reads anything large; each check gives all its problems."""
