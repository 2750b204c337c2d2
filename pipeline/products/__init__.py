"""What a run leaves behind: GeoPackage, GeoJSON, GeoParquet, CSV, masks, the report and run.json."""

from crackmap.pipeline.products.write import write_products

__all__ = ["write_products"]
