"""What the project knows about European Portuguese; plain Python, no torch."""
