"""Ears and a voice for AMÁLIA: speech-and-text models measured as European Portuguese."""

__version__ = "0.1.0"
