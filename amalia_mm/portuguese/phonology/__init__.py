"""How words sound in Lisbon: the rules and lists behind `g2p.py`."""
