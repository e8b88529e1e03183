"""Find secrets in inputs: in text and in key files; and let through what `secrets_allow` lists."""
