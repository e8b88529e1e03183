"""The store `vault`: HashiCorp Vault and OpenBao."""
