"""The sub-commands of `amalia`, one file each; each imports its room only when it is called."""
