"""Surveys and results in a bucket of an S3 server: listing, ranged reads, whole puts, resume."""
