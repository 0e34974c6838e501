"""Reading written text out: the rules behind `spoken.py`, one file for each kind of thing that is written."""
