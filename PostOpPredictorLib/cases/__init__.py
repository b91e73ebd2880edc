"""Operated patients: one case in memory, the library of cases on disk, and the phantom cohort."""
