"""How a plan and a status are shown: differences of files, summaries of long lists, progress of others."""
