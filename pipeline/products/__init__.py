"""What a run leaves behind: GeoPackage, GeoJSON, GeoParquet, CSV, masks, the report and run.json."""
