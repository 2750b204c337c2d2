"""Measurement: from crack probabilities to lines with length, width and orientation.

Read in the order of the data: `settings`, `skeleton` (mask to thin lines), `graph` (thin lines to branches), `pruning`
(spurs off), `strands` (branches to cracks that run straight through junctions), `centreline` (smooth sub-pixel lines),
`profile` (width across them), `metric` (numbers on the ground), `measure` (the entry).
"""
