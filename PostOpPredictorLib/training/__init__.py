"""Prepared slices and the trainer. The trainer needs torch, diffusers, numpy and safetensors only."""
