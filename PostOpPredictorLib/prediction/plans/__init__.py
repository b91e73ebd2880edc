"""A planned resection: what a person asks as a mask, a prediction that follows it, what it takes and leaves."""
