"""Predicts a brain MRI after glioma surgery from the one before it. Knows nothing of 3D Slicer."""

__version__ = "0.1.0"
