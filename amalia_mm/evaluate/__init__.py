"""A model folder and test sets to one JSON and one report."""
