"""The pieces of the module PostOpPredictor; import what is needed from its files, nothing is loaded here."""
