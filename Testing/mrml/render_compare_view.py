"""Draw the compare view of a prediction: ``python Testing/mrml/render_compare_view.py --prediction DIR --out PNG``.

With ``--plans FILE`` the plans stand side by side, added to the scene as the module does it.
Needs the package slicer-core and a way for VTK to draw without a screen (EGL or OSMesa).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent, HERE.parents[1], HERE.parents[1] / "PostOpPredictor"):
    sys.path.insert(0, str(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    shown = parser.add_mutually_exclusive_group(required=True)
    shown.add_argument("--prediction", type=Path, help="folder written by `postop predict`: beside its precedents")
    shown.add_argument("--plans", type=Path, metavar="FILE", help="what `postop predict --plan ... --json` printed")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--precedents", type=int, nargs="*", default=None, help="ranks (default: the best)")
    parser.add_argument("--orientation", default="Axial")
    parser.add_argument("--reveal", type=float, default=0.0, help="0 prediction ... 1 pre-op scan")
    parser.add_argument("--size", type=int, nargs=2, default=(1500, 640), metavar=("WIDTH", "HEIGHT"))
    render(parser.parse_args())


def render(options: argparse.Namespace) -> None:
    import standins

    standins.install()
    from offscreen_layout import OffscreenLayoutManager
    from PostOpPredictorModule.CompareView import CompareView
    from prediction_in_scene import added_result, prediction_nodes
    from slice_view_picture import save_picture
    from standins.mrml_scene import SceneWithLogics

    with tempfile.TemporaryDirectory() as cache:
        surroundings = SceneWithLogics(Path(cache))
        layoutManager = OffscreenLayoutManager(surroundings.scene, surroundings.application, *options.size)
        view = CompareView(layoutManager, afterLayout=lambda action: action())
        if options.plans:
            view.showPlans(added_result(options.plans))
        else:
            view.show(prediction_nodes(options.prediction), options.precedents)
        view.setOrientation(options.orientation)
        view.setReveal(options.reveal)
        save_picture(layoutManager, options.out)
        view.reset()
        layoutManager.close()
        surroundings.close()


if __name__ == "__main__":
    main()
