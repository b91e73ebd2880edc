"""The panel stays usable while a process writes as much as it can: the longest gap of the main thread is measured."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import panel_host
import pytest
from main_thread import longest_gaps_ms

LONGEST_GAP_MS = 50
TRIES = 3
"""Another program may take the processor away for longer than that; a panel that freezes does so every time."""
QUIET_MACHINE = 1.0
"""Load for each processor up to which the gap itself is judged; above it only the time that the panel itself took."""

TALKATIVE_BACKEND = """
import json, sys, time
def say(kind, **fields):
    print(json.dumps({"type": kind, **fields}), flush=True)
say("started", schema=1, command="predict", version="0", pid=0)
end = time.monotonic() + 1.5
number = 0
while time.monotonic() < end:
    say("stage", name=f"Stage {number}")
    for step in range(50):
        number += 1
        say("progress", step=step, of=50, seconds_left=1.0)
        say("log", text=f"detail {number} " + "x" * 150)
        print("a library that prints: " + "y" * 150, file=sys.stderr)
say("error", code="bad_input", message="The end of it. Nothing to do.")
"""


@pytest.mark.parametrize("logIsOpen", [False, True])
def test_panel_is_responsive_while_a_process_writes_without_end(
    patient: Any,
    compare_view: Any,
    installer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    logIsOpen: bool,
) -> None:
    from PostOpPredictorModule import BackendProcess
    from PostOpPredictorModule.Logic import PostOpPredictorLogic

    script = tmp_path / "talkative.py"
    script.write_text(TALKATIVE_BACKEND, encoding="utf-8")
    monkeypatch.setattr(BackendProcess, "backendCommand", lambda job: [sys.executable, str(script)])
    widget = panel_host.new_panel(PostOpPredictorLogic(), compare_view, installer)
    widget.parent.show()
    widget.ui.logCollapsibleButton.collapsed = not logIsOpen
    gaps: list[tuple[float, float]] = []
    try:
        for _ in range(TRIES):
            widget.ui.predictButton.click()
            gaps.append(longest_gaps_ms(lambda: widget.runPanel.state == "idle"))
            assert widget.ui.messageLabel.text.startswith("The end of it.")
            assert "detail 50 " in widget.runPanel.logText() or len(widget.runPanel.logText()) > 10_000
            if gaps[-1][0] < LONGEST_GAP_MS:
                break
    finally:
        widget.cleanup()
        widget.parent.close()
    clock, own = min(gaps)
    with capsys.disabled():
        print(f" [longest gap of the main thread: {clock:.0f} ms, its own work {own:.0f} ms]", end="")
    assert own < LONGEST_GAP_MS, gaps
    if os.getloadavg()[0] <= QUIET_MACHINE * (os.cpu_count() or 1):
        assert clock < LONGEST_GAP_MS, gaps
