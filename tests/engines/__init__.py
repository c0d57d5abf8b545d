"""Real databases for tests, started from packages; see each module."""
