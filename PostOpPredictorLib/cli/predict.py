"""``postop predict``: one patient's scan and tumour mask in, a predicted post-operative scan out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .answer_lines import day_lines, doubt_lines, headline
from .console import JsonLines, run_command
from .plans_table import plans_lines
from .predict_options import days_from, further_scans, plan_from, structure_from
from .shared_options import with_options_of

if TYPE_CHECKING:
    from ..prediction.request import PredictionRequest


CASES = "Operated cases to follow"
QUESTIONS = "What else is asked"
DRAWING = "How it is drawn"


class Sequence(StrEnum):
    """The sequence of the scan."""

    AUTO = "auto"
    T1W = "T1w"
    T1WCE = "T1wCE"
    T2W = "T2w"
    FLAIR = "FLAIR"


class Mode(StrEnum):
    """How the model is sampled."""

    MEAN = "mean"
    SAMPLE = "sample"
    AVERAGE = "average"


class Retrieval(StrEnum):
    """How precedents are chosen."""

    TUMOUR = "tumour"
    IMAGE = "image"
    RANDOM = "random"


class Per(StrEnum):
    """Whether one precedent serves the whole volume or each slice has its own."""

    VOLUME = "volume"
    SLICE = "slice"


class Start(StrEnum):
    """Where sampling starts."""

    NOISE = "noise"
    COMPOSITE = "composite"


class Device(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(predict)


def prediction_request(
    pre: Annotated[Path, typer.Option(help="Scan before surgery: a file, or a folder of DICOM slices.")],
    tumor: Annotated[Path, typer.Option("--tumor", "--tumour", help="Label map of the tumour.")],
    out: Annotated[Path, typer.Option(help="New folder for the prediction.")],
    labels: Annotated[
        str, typer.Option(help="What the labels mean: brats, brats2023, lumiere, any, or the core's labels (1,4).")
    ] = "brats",
    brain: Annotated[Path | None, typer.Option(help="Brain mask (default: made here).")] = None,
    sequence: Annotated[Sequence, typer.Option(help="Sequence of the scan.")] = Sequence.AUTO,
    library: Annotated[
        Path | None,
        typer.Option(help="Case library (default: simulated patients).", rich_help_panel=CASES, metavar="FOLDER"),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder (default: the shipped one).", rich_help_panel=DRAWING, metavar="FOLDER"),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="Expected outcome, one plausible one, or the mean of several.", rich_help_panel=DRAWING)
    ] = Mode.MEAN,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps of sample and average.", rich_help_panel=DRAWING)
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Samples that average takes.", rich_help_panel=DRAWING)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same prediction.", rich_help_panel=DRAWING)] = 0,
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance; 1 is none.", rich_help_panel=DRAWING)
    ] = None,
    start: Annotated[
        Start, typer.Option(help="Start sampling from noise or from the composite.", rich_help_panel=DRAWING)
    ] = Start.NOISE,
    k: Annotated[
        int, typer.Option("-k", help="Similar cases to list; the first is followed.", rich_help_panel=CASES)
    ] = 3,
    retrieval: Annotated[
        Retrieval, typer.Option(help="Choose cases by tumour, image or at random.", rich_help_panel=CASES)
    ] = Retrieval.TUMOUR,
    per: Annotated[
        Per, typer.Option(help="One case for the volume, or one for each slice.", rich_help_panel=CASES)
    ] = Per.VOLUME,
    institution: Annotated[
        str | None, typer.Option(help="Only cases operated there.", rich_help_panel=CASES, metavar="NAME")
    ] = None,
    follow: Annotated[
        str | None, typer.Option(help="Follow this case of the library.", rich_help_panel=CASES, metavar="CASE")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="A case that is no precedent; may be repeated.", rich_help_panel=CASES, metavar="CASE"),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            help="Another scan of the session, predicted too; may be repeated.",
            rich_help_panel=QUESTIONS,
            metavar="SEQUENCE=FILE",
        ),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            help="A planned resection to predict: NAME=margin:MM or NAME=FILE, with ,spare:FILE:MM behind it for what "
            "is to stay. May be repeated.",
            rich_help_panel=QUESTIONS,
            metavar="NAME=WHAT",
        ),
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(
            help="Tell the distance to this mask; may be repeated.", rich_help_panel=QUESTIONS, metavar="NAME=FILE"
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="Days since surgery that the prediction shows.", rich_help_panel=QUESTIONS)
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            help="More of such days, a volume each: 1,30,90; may be repeated.",
            rich_help_panel=QUESTIONS,
            metavar="DAYS",
        ),
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option(help="Maps of how sure it is, and what each precedent changes.", rich_help_panel=QUESTIONS)
    ] = False,
    noise_samples: Annotated[
        int, typer.Option(help="Samples for the spread over noise.", rich_help_panel=QUESTIONS)
    ] = 8,
    report: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    device: Annotated[Device, typer.Option(help="Where the model runs.", rich_help_panel=DRAWING)] = Device.AUTO,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier prediction in --out.")] = False,
) -> PredictionRequest:
    """What the options ask for; ``postop batch`` has them as well."""
    from ..prediction.request import PredictionRequest

    return PredictionRequest(
        pre=pre,
        tumour=tumor,
        out=out,
        labels=labels,
        brain=brain,
        sequence=sequence.value,
        library=library,
        model=model,
        mode=mode.value,
        steps=steps,
        samples=samples,
        seed=seed,
        guidance=guidance,
        start=start.value,
        k=k,
        retrieval=retrieval.value,
        per=per.value,
        institution=institution,
        device=device.value,
        overwrite=overwrite,
        more=further_scans(more or (), [one.value for one in Sequence if one is not Sequence.AUTO]),
        follow=follow,
        exclude=tuple(exclude or ()),
        days=days,
        series=days_from(series or ()),
        uncertainty=uncertainty,
        noise_samples=noise_samples,
        plans=tuple(plan_from(text) for text in plan or ()),
        structures=tuple(structure_from(text) for text in structure or ()),
        report=report,
    )


@with_options_of(prediction_request)
def predict(json_lines: JsonLines = False, **options: Any) -> None:
    """Predict how a brain may look on MRI after its tumour was operated on (synthetic; research only)."""
    from ..prediction.predictor import predict_command

    run_command(predict_command, prediction_request(**options), json_lines, summary_text)


def summary_text(result: Mapping[str, Any]) -> str:
    """What is printed for a person at the end."""
    warning = typer.style("SYNTHETIC: for research only, not for clinical decisions.", fg="yellow")
    return "\n".join(
        [
            *_precedent_lines(result),
            headline(result),
            *day_lines(result),
            *doubt_lines(result),
            f"Sequence {result['sequence']}: {result['sequence_reason']}",
            f"Alignment: {result['registration']}",
            *plans_lines(result),
            f"Picture: {result['files']['figure']}",
            *([f"Report: {result['files']['report']}"] if "report" in result["files"] else []),
            f"All files: {result['folder']}",
            warning,
        ]
    )


def _precedent_lines(result: Mapping[str, Any]) -> list[str]:
    """How similar the followed case is, first what gives reason to doubt."""
    similarity = result.get("similarity", {"level": "none" if result["no_similar_case"] else "good", "sentence": ""})
    looks: dict[str, dict[str, Any]] = {"none": {"fg": "red", "bold": True}, "weak": {"fg": "yellow"}, "good": {}}
    sentence = similarity["sentence"]
    if result["no_similar_case"]:
        sentence = sentence or "NO SIMILAR CASE in the library: predicted without a precedent."
    lines = [typer.style(sentence, **looks[similarity["level"]])] if sentence else []
    if not result["no_similar_case"]:
        lines.append(f"Precedent: {result['precedent']} (IoU of the tumours {result['precedent_iou']:.2f})")
    return lines
