"""Many patients from one table, over any number of processes."""
