"""MedSAM's image encoder: imported without torchvision, loaded as its authors publish it."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tiny_models import TINY_PROMPT
from torch import nn

from PostOpPredictorLib.errors import ModelMissing
from PostOpPredictorLib.model.medsam import build_image_encoder, image_encoder_class, load_medsam, medsam_input

MEDSAM = dataclasses.replace(TINY_PROMPT, image_encoder="medsam")


@pytest.fixture
def segment_anything_not_yet_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("segment_anything", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def a_broken_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segment_anything_not_yet_imported: None
) -> str:
    """What pip leaves beside a CPU build of torch."""
    package = tmp_path / "site" / "torchvision"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(package.parent)
    importlib.invalidate_caches()
    return str(package.parent)


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, nn.Module]:
    """A checkpoint of the small shape as MedSAM's authors lay it out, and the encoder whose weights it holds."""
    torch.manual_seed(1)
    encoder = build_image_encoder(MEDSAM)
    state = {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    state["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 4)
    state["mask_decoder.iou_token.weight"] = torch.zeros(1, 4)
    torch.save(state, tmp_path / "medsam_vit_b.pth")
    return tmp_path / "medsam_vit_b.pth", encoder


def test_a_broken_torchvision_is_really_broken(a_broken_torchvision: str) -> None:
    with pytest.raises(RuntimeError, match="nms"):
        importlib.import_module("torchvision")


def test_the_encoder_is_imported_beside_a_broken_torchvision(a_broken_torchvision: str) -> None:
    assert image_encoder_class.__wrapped__().__name__ == "ImageEncoderViT"
    assert not [name for name in sys.modules if name.split(".")[0] == "torchvision"], "no stand-in is left behind"


def test_a_torchvision_that_is_in_use_is_put_back(
    monkeypatch: pytest.MonkeyPatch, segment_anything_not_yet_imported: None
) -> None:
    mine = ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", mine)
    image_encoder_class.__wrapped__()
    assert sys.modules["torchvision"] is mine
    assert "torchvision.ops" not in sys.modules


def test_a_failed_import_leaves_no_stand_in(
    monkeypatch: pytest.MonkeyPatch, segment_anything_not_yet_imported: None
) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(ImportError):
        image_encoder_class.__wrapped__()
    assert not [name for name in sys.modules if name.split(".")[0] == "torchvision"]


def test_a_fresh_interpreter_runs_the_encoder_without_torchvision(project_root: Path) -> None:
    code = """
import importlib.util, sys
class NoTorchvision:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoTorchvision())
import torch
from PostOpPredictorLib.model.config import PromptConfig
from PostOpPredictorLib.model.medsam import build_image_encoder
encoder = build_image_encoder(PromptConfig(image_size=32, vit_width=16, vit_depth=1, vit_heads=2, vit_out_channels=8))
print(tuple(encoder(torch.zeros(1, 3, 32, 32)).shape), [n for n in sys.modules if n.startswith("torchvision")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, encoding="utf-8", timeout=280
    )
    assert done.stdout.strip() == "(1, 8, 2, 2) []", done.stderr


def test_the_published_checkpoint_is_loaded(published: tuple[Path, nn.Module]) -> None:
    path, original = published
    torch.manual_seed(2)
    encoder = build_image_encoder(MEDSAM)
    load_medsam(encoder, path)
    for name, value in original.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], value), name


def test_another_shape_is_refused(published: tuple[Path, nn.Module]) -> None:
    path, _ = published
    encoder = build_image_encoder(dataclasses.replace(MEDSAM, vit_width=32))
    with pytest.raises(ModelMissing, match=r"no MedSAM checkpoint of this shape .* Give the file"):
        load_medsam(encoder, path)


class RunsCode:
    """Unpickling it creates a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.victim)!r}, 'w').close()",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    bait = {"image_encoder.pos_embed": RunsCode(victim)}
    torch.save(bait, tmp_path / "new.pth")
    torch.save(bait, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(bait, protocol=2))
    for name in ("new.pth", "old.pth", "plain.pth"):
        with pytest.raises(ModelMissing):
            load_medsam(build_image_encoder(MEDSAM), tmp_path / name)
    assert not victim.exists()


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint", [1, 2], {"image_encoder.pos_embed": 3}, {}])
def test_what_is_no_checkpoint_is_refused_with_a_sentence(tmp_path: Path, content: object) -> None:
    path = tmp_path / "medsam.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ModelMissing, match=r"medsam\.pth is no MedSAM checkpoint"):
        load_medsam(build_image_encoder(MEDSAM), path)


def test_the_input_is_stretched_to_0_and_1_per_image_and_repeated_for_three_channels() -> None:
    image = torch.stack([torch.linspace(0.2, 0.6, 64).reshape(1, 8, 8), torch.linspace(0, 0.1, 64).reshape(1, 8, 8)])
    made = medsam_input(image, 8)
    assert made.shape == (2, 3, 8, 8)
    assert torch.allclose(made[0], made[1], atol=1e-5), "each image has its own window"
    assert made.amin(dim=(1, 2, 3)).tolist() == [0, 0] and made.amax(dim=(1, 2, 3)).tolist() == pytest.approx([1, 1])
    assert torch.equal(made[:, 0], made[:, 1]) and torch.equal(made[:, 0], made[:, 2])


def test_the_input_is_resized_and_stays_within_0_and_1() -> None:
    image = (torch.arange(64).reshape(1, 1, 8, 8) % 2).float()
    made = medsam_input(image, 32)
    assert made.shape == (1, 3, 32, 32) and made.min() >= 0 and made.max() <= 1


def test_a_constant_image_gives_no_nan() -> None:
    assert medsam_input(torch.full((1, 1, 8, 8), 0.3), 8).eq(0).all()


def test_medsam_and_its_compact_sibling_are_of_one_class() -> None:
    compact, medsam = build_image_encoder(TINY_PROMPT), build_image_encoder(MEDSAM)
    assert type(compact) is type(medsam) is image_encoder_class()
    with torch.no_grad():
        assert compact(torch.zeros(1, 3, 32, 32)).shape == medsam(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 4, 4)
