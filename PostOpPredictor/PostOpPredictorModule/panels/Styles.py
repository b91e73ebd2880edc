"""Colours of the panel; half-transparent, so that they suit Slicer's light and dark appearance."""

WARNING = "background-color: rgba(220, 120, 0, 60); border: 1px solid rgba(220, 120, 0, 190); padding: 6px;"
WARNING_TEXT = "color: #d98200;"
