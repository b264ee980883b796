"""The network: backbone, neck, vectorizer and head, with its losses and metric; it knows nothing of the data."""
