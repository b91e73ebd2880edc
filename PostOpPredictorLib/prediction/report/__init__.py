"""report.html: a finished prediction on a few printed pages that a surgeon reads in two minutes."""
