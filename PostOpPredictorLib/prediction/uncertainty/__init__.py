"""How sure a prediction is, and which precedent it owes what to."""
