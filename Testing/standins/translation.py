"""Stand-in for ``slicer.i18n``: no translation is loaded, so every text stays English."""

from __future__ import annotations

import slicer


def translate(context: str, text: str) -> str:
    """Return ``text`` in the application's language; without an application, as it is."""
    app = getattr(slicer, "app", None)
    return text if app is None else app.translate(context, text)


def tr(text: str) -> str:
    """Return ``text`` translated in the context of the file that asks; no catalogue is loaded here."""
    if not isinstance(text, str):
        raise TypeError(f"a text to translate must be a str, not {type(text).__name__}")
    return text


__all__ = ["tr", "translate"]
