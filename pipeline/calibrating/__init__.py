"""Calibrations made from photos and frames, and pictures to judge them by."""
