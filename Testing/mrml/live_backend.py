"""A small program in the place of the backend's live session: it speaks its lines, and draws a plan as a square."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_backend import BEGINNING
from PostOpPredictorModule.LivePreview import LivePreview

SLICES, Z_MM = (10, 20, 30), (-20.0, 0.0, 20.0)
SESSION = """
import numpy as np, SimpleITK as sitk
options = json.loads(job.read_text(encoding="utf-8"))["options"]
folder = job.parent / "answers"
folder.mkdir()
count = 0
def image(name, values, z):
    global count
    count += 1
    made = sitk.GetImageFromArray(values)
    made.SetSpacing((4.0, 4.0, 20.0))
    made.SetOrigin((-30.0, -40.0, z))
    path = folder / f"{count}_{name}.nii"
    sitk.WriteImage(made, str(path))
    return str(path)
def volume(value):
    return np.full((3, 20, 16), value, np.float32)
say("started", schema=1, command="session", version="0", pid=os.getpid())
say("stage", name="Aligning to MNI space")
mask = np.zeros((3, 20, 16), np.uint8)
mask[1, 5:9, 5:9] = 1
files = {"preop_mni": image("preop", volume(90), -20.0), "postop_mni": image("postop", volume(50), -20.0),
         "tumour_mni": image("tumour", mask, -20.0), "cavity_mask_mni": image("cavity", mask, -20.0)}
say("ready", slices=[10, 20, 30], z_mm=[-20.0, 0.0, 20.0], seconds=0.1, files=files, read_out={"residual_ml": 9.0})
z_of = dict(zip([10, 20, 30], [-20.0, 0.0, 20.0]))
asked = open(job.parent / "asked.jsonl", "a", encoding="utf-8")
def answer(request):
    margin = (request["plan"] or {}).get("margin_mm") or 0.0
    z = z_of[request["slice"]]
    hole = np.zeros((1, 20, 16), np.uint8)
    hole[0, 5:9, 5:9] = 1
    say("slice", id=request["id"], slice=request["slice"], z_mm=z, seconds=0.2, read_out={"plan_ml": 30.0 + margin},
        file=image("slice", np.full((1, 20, 16), 100 + margin, np.float32), z), cavity_file=image("hole", hole, z),
        warnings=["The plan is large."] if margin > 8 else [])
    time.sleep(0.3)
    say("volume", id=request["id"], seconds=1.0, read_out={"plan_ml": 30.0 + margin, "cavity_ml": 31.0}, warnings=[],
        files={"postop_mni": image("postop", volume(200 + margin), -20.0),
               "cavity_mask_mni": image("cavity", mask, -20.0)})
"""
"""A slice's value is 100 + the margin, a volume's 200 + the margin."""
ANSWERING = """
for line in sys.stdin:
    asked.write(line)
    asked.flush()
    answer(json.loads(line))
"""


def fake_session(folder: Path, program: str = SESSION + ANSWERING) -> Callable[[Path], list[str]]:
    """What starts ``program`` (Python) in the place of the backend."""
    script = folder / "session.py"
    script.write_text(BEGINNING + program, encoding="utf-8")
    return lambda job: [sys.executable, str(script), str(job)]


def poll_until(preview: LivePreview, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Do what the timer does until ``condition``; the longest look may take is what a user would feel."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"it did not come about: {preview.sentence}"
        preview.poll()
        time.sleep(0.01)
    return value
