"""Importers of public data sets of real operated patients into a case library (see docs/import.md)."""
