"""Writes report.html: one file that needs neither network nor script, and names no patient and no path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...progress import Progress
from .finished import Finished
from .meanings import every_figure, headline, meanings
from .other_pictures import days, sequences
from .plan_rows import plan_rows, plan_tables
from .precedent_rows import influence_bar, precedent_rows
from .scan_pictures import in_mni_space, in_patient_space, moved_and_generated, plane_edges
from .sureness import map_rows

REPORT = "report.html"
HEADER = "Synthetic image, research use, not for clinical decisions; trained on simulated operations"
TEMPLATE, STYLE = "report.html.j2", "report.css"
LIMITS = (
    "The picture is a computer's guess of how the brain may look after the operation. It is no measurement.",
    "The model was trained on simulated operations, on phantoms and on real scans before surgery. It was never checked "
    "against real scans after surgery.",
    "The prediction follows one operated case that lies like this one. With another case, another surgeon or another "
    "plan it would differ; the maps of spread show by how much as far as the library knows.",
    "Extent of resection and residual tumour are what the model predicts from habits of simulated institutions, not "
    "what is safe or possible in this patient.",
    "Distances and overlaps are geometry. An overlap with an area that an atlas calls eloquent is not a prediction of "
    "a deficit.",
    "The midline is read from the scan by the computer; on simulated patients it was off by 0.75 mm in the mean. "
    "Check it by eye.",
    "Changes with time (healing) come from a simple simulation and show a direction, not a date.",
    "Tumour labels and the alignment to MNI space are taken as given: where they are wrong, everything here is wrong.",
)


def write_report(path: Path, finished: Finished, progress: Progress) -> None:
    """Draw and write the report of ``finished`` to ``path``. Raises what ``progress`` raises on a cancel."""
    path.write_text(html_of(finished, progress), encoding="utf-8")


def html_of(finished: Finished, progress: Progress) -> str:
    """The page. Sections of what was not asked are left out."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts: Mapping[str, Any] = {
        "patient_table": in_patient_space,
        "mni_table": in_mni_space,
        "moved": moved_and_generated,
        "plans": plan_rows,
        "maps": map_rows,
        "precedents": precedent_rows,
        "influence_bar": influence_bar,
        "days": days,
        "sequences": sequences,
    }
    progress.stage("Writing the report")
    drawn = {}
    for number, (name, draw) in enumerate(parts.items()):
        progress.step(number, len(parts))
        drawn[name] = draw(finished)
    summary = finished.summary
    page = environment.get_template(TEMPLATE).render(
        **drawn,
        style=(folder / STYLE).read_text(encoding="utf-8"),
        header=HEADER,
        summary=summary,
        similarity=_similarity(summary),
        headline=headline(summary),
        plan_tables=plan_tables(summary),
        meanings=meanings(summary),
        every_figure=every_figure(summary),
        provenance=finished.provenance,
        planes=plane_edges(),
        limits=LIMITS,
    )
    progress.step(len(parts), len(parts))
    return page


def _similarity(summary: Mapping[str, Any]) -> Mapping[str, str]:
    """Level and sentence; from the older keys where the question was not answered."""
    if "similarity" in summary:
        return summary["similarity"]
    if summary["no_similar_case"]:
        return {"level": "none", "sentence": "NO SIMILAR CASE in the library: predicted without a precedent."}
    return {
        "level": "good",
        "sentence": f"The followed case overlaps this tumour by an IoU of {summary['precedent_iou']}.",
    }
