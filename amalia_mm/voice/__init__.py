"""Text to a particular person's speech."""
