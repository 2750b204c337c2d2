"""Drawn cracks on road surfaces, with exact truth: for training and for synthetic surveys."""
