"""The network: backbone, neck, vectorizer and head, with its losses and metric.

Importing this package registers all that a saved localizer needs, so that Keras loads one in safe mode.
"""

from selfie_localizer.network import layers, losses, metrics

__all__ = ["layers", "losses", "metrics"]
