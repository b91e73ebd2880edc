"""Why a prediction did not come about: a code for programs and a sentence that says what to do for people."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from slicer.i18n import tr as _

if TYPE_CHECKING:
    from .Settings import PredictionSettings

LOG_TAIL_LINES = 40
FEWER_SAMPLES = 2
LAUNCHERS_WORDS = "exit abnormally"
"""What the launcher PythonSlicer says when a signal ended its Python; it then ends with exit code 1 itself."""
_MISSING_MODULE = re.compile(r"No module named '([\w.]+)'")


@dataclass(frozen=True)
class Proposal:
    """Settings that may work where others failed. ``name`` is for programs, ``label`` for a button; nothing is tried
    before the user agrees."""

    name: str
    label: str
    settings: PredictionSettings


@dataclass(eq=False)
class PredictionError(Exception):
    """``message`` is a whole sentence, ``logTail`` the last lines of the log, ``proposals`` what could be tried.

    Codes of the backend: bad_input, registration_failed, bad_library, no_weights, bad_weights, storage, oom, cancelled,
    internal. Codes of this module: busy, no_backend, missing_package, crashed, input_removed, scene_closed, bad_result.
    """

    code: str
    message: str
    logTail: list[str] = field(default_factory=list)
    proposals: tuple[Proposal, ...] = ()

    def __str__(self) -> str:
        return self.message


def errorFromBackend(
    code: str, sentence: str, logLines: list[str], settings: PredictionSettings | None = None
) -> PredictionError:
    """Turn an error line of the backend into what the user reads; ``settings`` are those that failed."""
    tail = logLines[-LOG_TAIL_LINES:]
    package = missingPackage([sentence]) if code == "internal" else None
    if package is not None:
        return PredictionError("missing_package", missingPackageSentence(package), tail)
    proposals = proposalsFor(settings) if code == "oom" and settings is not None else ()
    return PredictionError(code, _sentenceFor(code, inPanelTerms(sentence)), tail, proposals)


def errorOfSilentEnd(exitCode: int | None, logLines: list[str]) -> PredictionError:
    """The error of a backend that ended without a result and without saying why."""
    tail = logLines[-LOG_TAIL_LINES:]
    package = missingPackage(tail)
    if package is not None:
        return PredictionError("missing_package", missingPackageSentence(package), tail)
    killed = exitCode in (-9, 137) or any(LAUNCHERS_WORDS in line for line in tail)
    advice = (
        _("Most often the computer ran out of memory: close other programs, or choose fewer samples.")
        if killed
        else _("The log shows the last lines it wrote; copy it when you ask for help.")
    )
    message = _("The prediction ended unexpectedly (exit code {code}). {advice}").format(code=exitCode, advice=advice)
    return PredictionError("crashed", message, tail)


def missingPackage(lines: list[str]) -> str | None:
    """The Python package that the last of ``lines`` to name one says is not installed."""
    for line in reversed(lines):
        found = _MISSING_MODULE.search(line)
        if found:
            return found[1].partition(".")[0]
    return None


def missingPackageSentence(package: str) -> str:
    """What to do about a package that is not installed."""
    sentence = _(
        "The Python package '{package}' is not installed. Click 'Install what is missing' in the section Set-up."
    )
    return sentence.format(package=package)


def proposalsFor(settings: PredictionSettings) -> tuple[Proposal, ...]:
    """Settings that need less memory than ``settings`` did, the gentlest change first."""
    proposals = []
    if settings.mode != "mean" and (settings.samples is None or settings.samples > FEWER_SAMPLES):
        fewer = replace(settings, samples=FEWER_SAMPLES)
        proposals.append(Proposal("fewer_samples", _("Only {count} samples").format(count=FEWER_SAMPLES), fewer))
    if settings.mode != "mean":
        single = replace(settings, mode="mean", samples=None)
        proposals.append(Proposal("mean", _("The expected outcome in one step"), single))
    if settings.device != "cpu":
        proposals.append(Proposal("cpu", _("On the CPU (slower)"), replace(settings, device="cpu")))
    return tuple(proposals)


def _sentenceFor(code: str, sentence: str) -> str:
    advice = {
        "oom": _("Nothing was changed. You can try again with settings that need less memory."),
        "registration_failed": _("A brain segment under Inputs often helps."),
        "no_weights": _("Choose a model folder in the section 'Model, case library and device'."),
        "bad_weights": _("Choose another model in the section 'Model, case library and device', or install it again."),
        "bad_library": _("Choose another case library in the section 'Model, case library and device'."),
    }
    if code == "oom":
        return _("There was not enough memory for this prediction. {advice}").format(advice=advice["oom"])
    if code == "cancelled":
        return _("The prediction was cancelled. Nothing was added to the scene.")
    return f"{sentence} {advice[code]}" if code in advice else sentence


def inPanelTerms(sentence: str) -> str:
    """The backend's sentences speak of the command line's options; name what the panel calls them."""
    terms = {
        "--device cpu": _("the device CPU"),
        "with --brain": _("as a brain segment"),
        "--brain": _("a brain segment"),
        "--samples": _("samples"),
        "--sequence": _("sequence"),
        "--library": _("case library"),
        "--model": _("model folder"),
        "--labels": _("tumour segments"),
    }
    for option, term in terms.items():
        sentence = re.sub(rf"{re.escape(option)}(?![\w-])", lambda _found, term=term: term, sentence)
    return sentence
