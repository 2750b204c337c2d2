"""Arrays in, records out: detect, segment, measure, and what trains them. Knows no survey, CRS or product."""
