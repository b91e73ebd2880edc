"""The pictures of the panel can be drawn, and show what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import render_panel


@pytest.mark.parametrize("state", [*render_panel.STATES])
def test_state_can_be_drawn(state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Any) -> None:
    import slicer
    from PIL import Image

    monkeypatch.setattr(slicer, "mrmlScene", None, raising=False)
    monkeypatch.setattr(slicer, "modules", None, raising=False)
    (picture,) = render_panel.render(tmp_path, [state])
    with Image.open(picture) as drawn:
        assert drawn.width == render_panel.WIDTH, "something in the panel is wider than a module panel"
        assert 250 < drawn.height < render_panel.TALLEST
        assert len(drawn.convert("L").getcolors(256) or range(257)) > 20, "the picture is empty"
