"""Whether VTK can draw on this computer without a screen; asked in a process of its own, for it may crash."""

from __future__ import annotations

import functools
import subprocess
import sys

_DRAW = """
import vtk
window = vtk.vtkRenderWindow(); window.SetOffScreenRendering(True); window.SetSize(8, 8)
renderer = vtk.vtkRenderer(); renderer.SetBackground(1, 0, 0); window.AddRenderer(renderer); window.Render()
grab = vtk.vtkWindowToImageFilter(); grab.SetInput(window); grab.Update()
assert grab.GetOutput().GetScalarComponentAsDouble(4, 4, 0, 0) == 255
"""


@functools.cache
def why_nothing_can_be_drawn() -> str | None:
    """A reason to skip, or None. On Debian the packages libegl1 and libgl1-mesa-dri (or libosmesa6) make it work."""
    ended = subprocess.run([sys.executable, "-c", _DRAW], capture_output=True, timeout=120, check=False)
    if ended.returncode == 0:
        return None
    return "VTK cannot draw off screen here: install libegl1 and libgl1-mesa-dri, or libosmesa6"
