"""Fixtures of the third ring: the real panel on a thin PySide6 host, with real MRML and without Slicer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import panel_host
from standins import qt_host

TELLS_WHY = qt_host.reason_unavailable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without PySide6, or its system libraries, this ring is skipped and says what to install."""
    if TELLS_WHY:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=TELLS_WHY))


@pytest.fixture(autouse=True)
def host(tmp_path: Path) -> Iterator[Any]:
    """``slicer.app`` of the host, with empty settings; gone afterwards, so that other rings see no Qt."""
    app = panel_host.start_host()
    app.useSettingsIn(str(tmp_path / "settings"))
    app.inTestingMode, app.restarts = False, 0
    panel_host.standins.pip_requests.clear()
    yield app
    app.processEvents()
    qt_host.uninstall()


@pytest.fixture
def scene(host: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An empty ``slicer.mrmlScene``."""
    import slicer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slicer, "mrmlScene", None, raising=False)
        patch.setattr(slicer, "modules", None, raising=False)
        made = panel_host.new_scene(tmp_path_factory.mktemp("scene-cache"))
        yield made.scene
        made.close()


@pytest.fixture
def patient(scene: Any) -> SimpleNamespace:
    """A scan and a segmentation in the scene: ``.volume`` and ``.tumour``."""
    return panel_host.add_patient()


@pytest.fixture
def logic(scene: Any) -> Any:
    """The logic behind the panel, played by the test."""
    from panel_fakes import FakeLogic

    return FakeLogic()


@pytest.fixture
def compare_view() -> Any:
    """The compare view, which records what it is asked."""
    from panel_fakes import FakeCompareView

    return FakeCompareView()


@pytest.fixture
def installer() -> Any:
    """An installer that finds everything there; a test may take things away before it asks for the panel."""
    from panel_fakes import RecordingInstaller

    return RecordingInstaller()


@pytest.fixture
def open_panel(logic: Any, compare_view: Any, installer: Any) -> Iterator[Callable[[], Any]]:
    """``open_panel()``: the panel as a user who opens the module sees it."""
    opened = []

    def make() -> Any:
        opened.append(panel_host.new_panel(logic, compare_view, installer))
        opened[-1].parent.show()
        return opened[-1]

    yield make
    for widget in opened:
        widget.cleanup()
        widget.parent.close()


@pytest.fixture
def panel(patient: SimpleNamespace, open_panel: Callable[[], Any]) -> Any:
    """The panel with a patient in the scene, ready to predict."""
    return open_panel()


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the user was asked (``.asked``) and answers (``.answer``)."""
    import slicer.util

    talk = SimpleNamespace(asked=[], answer=True)

    def confirm(text: str, title: str | None = None, **_more: Any) -> bool:
        talk.asked.append(text)
        return talk.answer

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return talk


@pytest.fixture
def wait_until(host: Any) -> Callable[..., None]:
    """``wait_until(condition)``: let the event loop run until it holds."""

    def wait(condition: Callable[[], Any], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "what was waited for did not happen"
            host.processEvents()
            time.sleep(0.002)

    return wait
