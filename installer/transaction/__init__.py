"""Transactions: the journal, their execution, and what follows COMMIT or a rollback."""
