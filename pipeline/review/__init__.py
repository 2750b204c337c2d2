"""The review of a run by a person: its cracks as editable polygons, and corrected ones back into its journal."""
