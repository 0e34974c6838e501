"""The AMÁLIA text decoder; knows nothing of audio."""
