"""One benchmark: every system of the paper's tables trained with one budget, sampled, measured and compared."""
