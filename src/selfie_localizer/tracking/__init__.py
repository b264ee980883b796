"""MLflow: how runs are named, tagged, nested and sent."""
