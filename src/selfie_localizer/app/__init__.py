"""What people use: boxes for their own photos, and the summary."""
