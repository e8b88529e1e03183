"""Transactions: the journal, execution, and what follows the last decision."""
