"""Waveform to encoder frames; knows nothing of text."""
