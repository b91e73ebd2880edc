"""The parts of the panel, one class a file; each is handed the widgets of the .ui and what it tells others by."""
