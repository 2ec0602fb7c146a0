"""After-action reviews."""
