"""Volumes in and out: reading, writing, MNI space, brain masks, intensities. A volume is a ``SimpleITK.Image``."""
