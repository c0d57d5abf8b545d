"""SQLite store for headrace: one file, no infrastructure."""
