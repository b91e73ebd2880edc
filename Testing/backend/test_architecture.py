"""Imports run one way, and only packages that are declared are imported."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "PostOpPredictorLib"
# Each part may import itself and what stands left of it.
ORDER = ("imaging", "cases", "retrieval", "model", "prediction", "training", "evaluation", "benchmark", "cli")
INDEPENDENT = {("evaluation", "training"), ("training", "evaluation")}
# The work behind the command line, beside the folder cli/; it may reach every part.
OF_THE_COMMAND_LINE = {"jobs", "doctor", "__main__", "__init__"}
# yaml comes with huggingface_hub, without which diffusers cannot be imported.
BARE_MACHINE = {"torch", "diffusers", "numpy", "safetensors", "segment_anything", "yaml"}
NEVER = {"slicer", "qt", "ctk", "pickle", "shelve", "torchvision", "joblib"}
NAME_TO_INSTALL = {"SimpleITK": "simpleitk", "yaml": "pyyaml", "PIL": "pillow", "segment_anything": "segment-anything"}
OPTIONAL = {"accelerate", "vtk"}


def files(root: Path) -> list[Path]:
    return sorted((root / PACKAGE).rglob("*.py"))


def imports(path: Path, root: Path) -> Iterator[str]:
    """Yield the absolute name of every module that a file imports, wherever in the file."""
    parts = path.relative_to(root).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: len(parts) - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def test_imports_run_one_way(project_root: Path) -> None:
    backwards = []
    for path in files(project_root):
        here = part_of(".".join(path.relative_to(project_root).with_suffix("").parts))
        if here in OF_THE_COMMAND_LINE or here not in ORDER:
            continue
        for module in imports(path, project_root):
            there = part_of(module) if module.startswith(f"{PACKAGE}.") else ""
            forbidden = there in OF_THE_COMMAND_LINE - {"__init__"} and here != "cli"
            later = there in ORDER and ORDER.index(there) > ORDER.index(here)
            if forbidden or later or (here, there) in INDEPENDENT:
                backwards.append(f"{path.name} ({here}) imports {module}")
    assert backwards == []


def test_what_stands_below_all_parts_imports_none_of_them(project_root: Path) -> None:
    for path in (project_root / PACKAGE).glob("*.py"):
        if path.stem not in OF_THE_COMMAND_LINE:
            reached = {part_of(module) for module in imports(path, project_root) if module.startswith(f"{PACKAGE}.")}
            assert reached.isdisjoint(ORDER), path.name


def test_only_declared_packages_are_imported(project_root: Path) -> None:
    declared = tomllib.loads((project_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {requirement.split(">")[0].strip().lower() for requirement in declared}
    for path in files(project_root):
        for module in imports(path, project_root):
            top = module.split(".")[0]
            if top == PACKAGE or (top in sys.stdlib_module_names and top not in NEVER) or top in OPTIONAL:
                continue
            assert top not in NEVER, f"{path.name} imports {module}"
            assert NAME_TO_INSTALL.get(top, top) in names, f"{path.name} imports {module}, which is not declared"


@pytest.mark.parametrize("where", ["model", "training/trainer"])
def test_what_trains_on_a_bare_machine_imports_nothing_more(project_root: Path, where: str) -> None:
    for path in files(project_root):
        if not path.relative_to(project_root / PACKAGE).as_posix().startswith(where):
            continue
        tops = {module.split(".")[0] for module in imports(path, project_root)} - {PACKAGE}
        assert tops - set(sys.stdlib_module_names) <= BARE_MACHINE | {"accelerate"}, path.name
