"""Predicts many patients without a window: files in; one scene (.mrb) per case and one table of figures out.

    Slicer --no-splash --no-main-window --python-script predict_cases.py -- CASES OUT [options]

CASES is a CSV table with the columns pre and tumour (and, if wanted, id, brain, margins and days), or a folder with one
folder per case that holds pre and tumour (and brain) as .nii.gz, .nrrd, .mha. OUT gets <id>.mrb and figures.csv; with
margins plans.csv (one row per plan), with days days.csv (one row per day). Cases that are
done are skipped, failed ones are tried again; a case that fails is told in figures.csv and the next one goes on. The
exit code is 0 when all are done, 1 when one failed, 2 when nothing could be begun. Nobody is asked anything.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import slicer
import slicer.util

try:
    import PostOpPredictorModule  # noqa: F401
except ImportError:
    # From a source checkout; the installed extension is on Slicer's path already.
    _CHECKOUT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_CHECKOUT / "PostOpPredictor"), str(_CHECKOUT)]

from PostOpPredictorModule.BatchCases import BatchCase, daysIn, marginsIn, plansByMargin, readCases
from PostOpPredictorModule.BatchFigures import FiguresTable
from PostOpPredictorModule.Errors import PredictionError
from PostOpPredictorModule.Logic import PostOpPredictorLogic
from PostOpPredictorModule.Settings import PredictionSettings

from PostOpPredictorLib.failures import trace_without_data

ALL_DONE, SOME_FAILED, NOTHING_BEGUN = 0, 1, 2
FIGURES = "figures.csv"
STORAGE = {
    "vtkMRMLScalarVolumeNode": "vtkMRMLVolumeArchetypeStorageNode",
    "vtkMRMLLabelMapVolumeNode": "vtkMRMLVolumeArchetypeStorageNode",
    "vtkMRMLSegmentationNode": "vtkMRMLSegmentationStorageNode",
}


def main(arguments: Sequence[str]) -> int:
    """Predict all cases; returns the exit code."""
    chosen = _parser().parse_args([one for one in arguments if one != "--"])
    try:
        cases = readCases(chosen.cases)
        chosen.out.mkdir(parents=True, exist_ok=True)
        figures = FiguresTable(chosen.out / FIGURES)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return NOTHING_BEGUN
    logic, failed = PostOpPredictorLogic(), 0
    try:
        for number, case in enumerate(cases, start=1):
            label = f"[{number}/{len(cases)}] {case.caseId}"
            if not chosen.again and figures.isDone(case.caseId) and _sceneFile(chosen.out, case).is_file():
                print(f"{label}: done before", flush=True)
                continue
            print(f"{label}: predicting", flush=True)
            failed += not _predictCase(logic, case, chosen, figures)
    finally:
        logic.cleanup()
    print(f"{len(cases) - failed} of {len(cases)} cases are done; see {chosen.out / FIGURES}", flush=True)
    return SOME_FAILED if failed else ALL_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="predict_cases.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plain = PredictionSettings()
    parser.add_argument("cases", type=Path, help="CSV table or folder of the cases")
    parser.add_argument("out", type=Path, help="folder for the results; made when it is not there")
    parser.add_argument(
        "--segments",
        default="",
        help="labels (1,4) or segment names that are the tumour core; by their names, without oedema, when left out",
    )
    parser.add_argument("--model", type=Path, help="model folder; the shipped one when left out")
    parser.add_argument("--library", type=Path, help="case library; the demonstration library when left out")
    parser.add_argument("--device", default=plain.device, choices=("auto", "cuda", "mps", "cpu"))
    parser.add_argument("--precedents", type=int, default=plain.precedents, help="how many similar cases are added")
    parser.add_argument("--mode", default=plain.mode, choices=("mean", "sample", "average"))
    parser.add_argument("--samples", type=int, help="draws of the mode average")
    parser.add_argument("--steps", type=int, help="denoising steps")
    parser.add_argument("--seed", type=int, default=plain.seed)
    parser.add_argument("--sequence", default=plain.sequence, choices=("auto", "T1w", "T1wCE"))
    parser.add_argument("--institution", help="only precedents from there")
    parser.add_argument(
        "--margins",
        type=_numbers(marginsIn),
        default=(),
        help="plans: mm around the tumour (-5 to 10), as --margins=-2,0,5",
    )
    parser.add_argument("--days", type=_numbers(daysIn), default=(), help="days after surgery (0 to 365), as 1,14,60")
    parser.add_argument("--uncertainty", action="store_true", help="maps of the spread, and the precedents' influence")
    parser.add_argument("--noise-samples", type=int, default=plain.noiseSamples, help="draws for the spread over noise")
    parser.add_argument("--follow", help="the case that every prediction follows")
    parser.add_argument("--exclude", default="", help="cases that are no precedents, as sub-P0001,sub-P0002")
    parser.add_argument("--no-report", action="store_true", help="write no report into the scenes")
    parser.add_argument("--again", action="store_true", help="predict the cases that are done once more")
    return parser


def _settings(chosen: argparse.Namespace) -> PredictionSettings:
    names = ("device", "precedents", "mode", "samples", "steps", "seed", "sequence", "institution", "follow")
    return PredictionSettings(
        modelFolder=chosen.model,
        libraryFolder=chosen.library,
        exclude=tuple(one.strip() for one in chosen.exclude.split(",") if one.strip()),
        uncertainty=chosen.uncertainty,
        noiseSamples=chosen.noise_samples,
        report=not chosen.no_report,
        **{name: getattr(chosen, name) for name in names},
    )


def _settingsOf(case: BatchCase, chosen: argparse.Namespace) -> PredictionSettings:
    """Those of the batch, with the plans and days that the case's own row may name."""
    margins = chosen.margins if case.margins is None else case.margins
    series = chosen.days if case.days is None else case.days
    return replace(_settings(chosen), plans=plansByMargin(margins), series=series)


def _numbers(read: Callable[[str], tuple[float, ...]]) -> Callable[[str], tuple[float, ...]]:
    def parsed(text: str) -> tuple[float, ...]:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parsed


def _predictCase(
    logic: PostOpPredictorLogic, case: BatchCase, chosen: argparse.Namespace, figures: FiguresTable
) -> bool:
    began = time.monotonic()
    slicer.mrmlScene.Clear(False)
    try:
        volume, tumour, brain = _loaded(case)
        wanted = [one.strip() for one in chosen.segments.split(",") if one.strip()]
        segments = _segmentIds(tumour, wanted)
        nodes = logic.predict(volume, tumour, segments, brainSegmentation=brain, settings=_settingsOf(case, chosen))
        _saveScene(_sceneFile(chosen.out, case))
    except PredictionError as error:
        return _failed(figures, case, error, began)
    except OSError as error:
        # Not its whole text: that names the file, and so perhaps the patient.
        sentence = f"A file or folder could not be read or written ({error.strerror or type(error).__name__})."
        return _failed(figures, case, PredictionError("storage", sentence), began)
    except Exception as error:
        print(trace_without_data(error), file=sys.stderr)
        sentence = f"Something went wrong inside the module ({type(error).__name__}). The log says where; report it."
        return _failed(figures, case, PredictionError("internal", sentence), began)
    finally:
        slicer.mrmlScene.Clear(False)
    figures.addResult(case.caseId, nodes.summary, nodes.warnings, time.monotonic() - began)
    return True


def _failed(figures: FiguresTable, case: BatchCase, error: PredictionError, began: float) -> bool:
    figures.addFailure(case.caseId, error.code, error.message, time.monotonic() - began)
    print(f"  failed: {error.message}", file=sys.stderr, flush=True)
    return False


def _loaded(case: BatchCase) -> tuple:
    """Scan, tumour and brain mask as nodes that are named after the case and know nothing of their files."""
    if case.pre is None or case.tumour is None:
        raise PredictionError("bad_input", case.problem)
    volume = _read(case.pre, "vtkMRMLScalarVolumeNode", f"{case.caseId} pre-op", "scan")
    tumour = _read(case.tumour, _maskClass(case.tumour), f"{case.caseId} tumour", "tumour mask")
    if case.brain is None:
        return volume, tumour, None
    brain = _read(case.brain, _maskClass(case.brain), f"{case.caseId} brain", "brain mask")
    return volume, tumour, brain


def _maskClass(path: Path) -> str:
    return "vtkMRMLSegmentationNode" if path.name.lower().endswith(".seg.nrrd") else "vtkMRMLLabelMapVolumeNode"


def _read(path: Path, className: str, name: str, what: str) -> slicer.vtkMRMLStorableNode:
    if not path.is_file():
        raise PredictionError("bad_input", f"The file of the {what} does not exist. Check its path.")
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    storage = getattr(slicer, STORAGE[className])()
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise PredictionError("bad_input", f"The file of the {what} cannot be read. Give it as .nii.gz or .nrrd.")
    node.SetName(name)
    # Readers copy what the file says about the patient.
    for attribute in list(node.GetAttributeNames()):
        node.RemoveAttribute(attribute)
    node.CreateDefaultDisplayNodes()
    return node


def _segmentIds(tumour: slicer.vtkMRMLNode, wanted: list[str]) -> list[str]:
    if not tumour.IsA("vtkMRMLSegmentationNode"):
        return wanted
    segmentation = tumour.GetSegmentation()
    return [segmentation.GetSegmentIdBySegmentName(one) or one for one in wanted]


def _sceneFile(out: Path, case: BatchCase) -> Path:
    return out / f"{case.caseId}.mrb"


def _saveScene(path: Path) -> None:
    """Save the scene whole or not at all. The file's own name is also within it, hence the folder."""
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".saving-"))
    try:
        slicer.mrmlScene.SetURL(str(folder / f"{path.stem}.mrml"))
        if not slicer.mrmlScene.WriteToMRB(str(folder / path.name)):
            raise PredictionError("storage", "The scene could not be saved. Free some space on the disk.")
        os.replace(folder / path.name, path)
    finally:
        slicer.mrmlScene.SetURL("")
        shutil.rmtree(folder, ignore_errors=True)


def _leave(code: int) -> None:
    if getattr(slicer, "app", None) is None:
        sys.exit(code)
    slicer.util.exit(code)


if __name__ == "__main__":
    try:
        exitCode = main(sys.argv[1:])
    except SystemExit as end:
        exitCode = end.code if isinstance(end.code, int) else NOTHING_BEGUN
    _leave(exitCode)
