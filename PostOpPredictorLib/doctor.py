"""Examines the computer and the installation: versions, device, threads, disk, memory, model, library, cache."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from .errors import PostOpError
from .progress import Progress
from .shipped import demonstration_library_folder, shipped_model_folder, user_cache

NEEDED = (
    "torch",
    "diffusers",
    "segment_anything",
    "SimpleITK",
    "numpy",
    "scipy",
    "safetensors",
    "nilearn",
    "matplotlib",
    "contourpy",
    "jinja2",
)
GIB = 1024**3
DISK_NEEDED = 2 * GIB
MEMORY_NEEDED = 4 * GIB


@dataclass(frozen=True)
class DoctorRequest:
    """There is nothing to choose."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and a sentence with what to do unless it is well."""

    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def examine(request: DoctorRequest, progress: Progress) -> dict[str, Any]:
    """Return ``well`` (nothing that is needed is missing) and the findings as dictionaries."""
    progress.stage("Examining this computer")
    examinations: list[Callable[[], Finding]] = [python, *(partial(package, name) for name in NEEDED)]
    examinations += [vtk, device, threads, cache, disk, memory, model, library]
    findings: list[Finding] = []
    for done, look in enumerate(examinations, start=1):
        findings.append(look())
        progress.step(done, len(examinations))
    return {
        "well": all(finding.state != "problem" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def python() -> Finding:
    """Look at the interpreter and the system."""
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def package(name: str) -> Finding:
    """Import a package that is needed and tell its version."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        if name == "segment_anything" and "torchvision" in str(error):
            # It is loaded without torchvision where it is needed.
            return Finding(name, "ok", f"{_version(name)} (used without torchvision)")
        advice = f"Install it again: python -m pip install -c constraints.txt {name.replace('_', '-')}."
        return Finding(name, "problem", f"cannot be imported ({error})", advice)
    return Finding(name, "ok", _version(name))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return "unknown version"


def vtk() -> Finding:
    """Look whether VTK is there; only the 3D Slicer module needs it, and brings it."""
    found = "is there" if importlib.util.find_spec("vtk") else "is not there, and not needed outside 3D Slicer"
    return Finding("VTK", "ok", found)


def device() -> Finding:
    """Tell which device the model will run on, and why."""
    try:
        import torch
    except ImportError:
        return Finding("Device", "problem", "unknown without torch")
    if torch.cuda.is_available():
        return Finding("Device", "ok", f"cuda ({torch.cuda.get_device_name(0)}, {torch.cuda.device_count()} in all)")
    if torch.backends.mps.is_available():
        return Finding("Device", "ok", "mps (Apple graphics)")
    why = "no NVIDIA driver or GPU answers" if torch.version.cuda else "this torch was built without CUDA"
    return Finding("Device", "ok", f"cpu with {torch.get_num_threads()} threads ({why})")


def threads() -> Finding:
    """Look at the OpenMP settings that decide how torch behaves on a busy machine."""
    settings = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    found = ", ".join(f"{name}={value}" for name, value in settings.items() if value) or "OpenMP's own settings"
    spins = sys.platform.startswith("linux") and (settings["OMP_WAIT_POLICY"] or "").upper() != "PASSIVE"
    if spins and settings["OMP_NUM_THREADS"] != "1":
        advice = "On a busy computer set OMP_WAIT_POLICY=PASSIVE and GOMP_SPINCOUNT=0: up to ten times faster."
        return Finding("Threads", "warning", found, advice)
    return Finding("Threads", "ok", found)


def cache() -> Finding:
    """Look whether the cache folder can be written, by writing to it."""
    folder = user_cache()
    probe = folder / f".{uuid.uuid4().hex}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        advice = "Set POSTOP_CACHE to a folder that you may write to."
        return Finding("Cache", "problem", f"{folder} cannot be written ({error.strerror})", advice)
    return Finding("Cache", "ok", f"{folder} can be written")


def disk() -> Finding:
    """Look at the free space where the demonstration library goes."""
    folder = user_cache()
    existing = next(place for place in (folder, *folder.parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    found = f"{free / GIB:.1f} GiB free in {existing}"
    if free < DISK_NEEDED:
        return Finding("Disk", "warning", found, f"The demonstration needs {DISK_NEEDED // GIB} GiB; free some space.")
    return Finding("Disk", "ok", found)


def memory() -> Finding:
    """Look at the memory that is available now."""
    available = available_memory()
    if available is None:
        return Finding("Memory", "ok", "not known on this system")
    found = f"{available / GIB:.1f} GiB available"
    if available < MEMORY_NEEDED:
        return Finding(
            "Memory", "warning", found, f"A prediction needs {MEMORY_NEEDED // GIB} GiB; close other programs."
        )
    return Finding("Memory", "ok", found)


def available_memory() -> int | None:
    """Return the bytes that new programs can have (Linux), else those of the whole machine where the system tells."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def model() -> Finding:
    """Verify the shipped model against its checksums."""
    from .model.weights import verify

    folder = shipped_model_folder()
    try:
        checksum = verify(folder)
    except PostOpError as error:
        return Finding("Model", "problem", "cannot be used", str(error))
    return Finding("Model", "ok", f"{folder} is whole (SHA-256 {checksum[:12]})")


def library() -> Finding:
    """Look for the demonstration library; the first demo makes it."""
    folder = demonstration_library_folder()
    if not folder.is_dir():
        return Finding("Library", "ok", "the demonstration library is made by the first 'postop demo'")
    from .cases.library import CaseLibrary

    try:
        cases = len(CaseLibrary.open(folder).cases)
    except PostOpError as error:
        return Finding("Library", "warning", "the demonstration library is damaged", f"{error} Or delete {folder}.")
    return Finding("Library", "ok", f"{cases} cases in {folder}")
