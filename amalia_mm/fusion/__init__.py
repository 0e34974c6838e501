"""Where audio and text meet: projectors, the splice, the speech-text model."""
