"""Text to the speech of one particular person; each file names one part of the way."""
