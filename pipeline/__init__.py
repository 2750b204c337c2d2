"""Where pixels come from and where results go: survey, run, merge, sections, products."""
