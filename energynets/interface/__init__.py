"""Pictures in, records out: `segment`, `matte` and `dehaze`, for whoever never trains anything."""
