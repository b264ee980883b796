"""Where photos and boxes come from and go to: fetched, rendered, imported, exported."""
