"""Suites: each measures one thing of an assistant and returns a dataclass; none knows of the others."""
