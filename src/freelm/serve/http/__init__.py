"""The HTTP side of the server: limits, guards, errors."""
