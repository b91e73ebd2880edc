"""A file or a folder appears whole or not at all, and what was there before survives every failure."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from PostOpPredictorLib import atomic_files
from PostOpPredictorLib.atomic_files import whole_file, whole_folder
from PostOpPredictorLib.errors import StorageError


class Crash(BaseException):
    """Something that no ``except Exception`` sees, such as Ctrl-C."""


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a file and a folder that existed before."""
    (tmp_path / "kept.txt").write_text("before")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.txt").write_text("before a")
    (tmp_path / "kept" / "b.txt").write_text("before b")
    return tmp_path


@pytest.fixture
def before(place: Path) -> dict[str, str]:
    return contents(place)


@pytest.fixture
def renames_that_fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the n-th rename (counted from 1) raise; the tests run as root, whom permission bits do not stop."""

    def fail(*numbers: int, error: BaseException) -> None:
        real, count = os.replace, [0]

        def replace(source: Path, target: Path) -> None:
            count[0] += 1
            if count[0] in numbers:
                raise error
            real(source, target)

        monkeypatch.setattr(atomic_files.os, "replace", replace)

    return fail


def test_a_file_appears_under_its_name_with_missing_parents(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "volume.nii.gz"
    with whole_file(target) as temporary:
        assert temporary.name.endswith("volume.nii.gz")
        assert not target.exists()
        temporary.write_text("whole")
    assert contents(tmp_path) == {"new/deep/volume.nii.gz": "whole"}


def test_a_file_replaces_the_earlier_one(place: Path) -> None:
    with whole_file(place / "kept.txt") as temporary:
        temporary.write_text("after")
        assert (place / "kept.txt").read_text() == "before"
    assert (place / "kept.txt").read_text() == "after"


@pytest.mark.parametrize("crash", [ValueError("x"), KeyboardInterrupt(), Crash(), MemoryError()])
def test_a_crash_in_the_middle_of_a_file_leaves_the_earlier_one(
    place: Path, before: dict[str, str], crash: BaseException
) -> None:
    with pytest.raises(type(crash)), whole_file(place / "kept.txt") as temporary:
        temporary.write_text("half")
        raise crash
    assert contents(place) == before


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ENOSPC, "full"), (errno.EACCES, "permission"), (errno.EPERM, "permission"), (errno.EROFS, "permission")],
)
@pytest.mark.parametrize("name", ["kept.txt", "fresh.txt"])
def test_a_full_or_locked_disk_is_a_sentence_and_leaves_everything(
    place: Path, before: dict[str, str], number: int, word: str, name: str
) -> None:
    with pytest.raises(StorageError, match=f"(?i){word}") as refusal, whole_file(place / name) as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert name in str(refusal.value)
    assert refusal.value.exit_code == 2
    assert contents(place) == before


def test_a_failed_rename_of_a_file_leaves_the_earlier_one(
    place: Path, before: dict[str, str], renames_that_fail: Callable[..., None]
) -> None:
    renames_that_fail(1, error=PermissionError(errno.EACCES, "denied"))
    with pytest.raises(StorageError, match="permission"), whole_file(place / "kept.txt") as temporary:
        temporary.write_text("after")
    assert contents(place) == before


def test_a_parent_that_cannot_be_made_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StorageError, match="permission"), whole_file(tmp_path / "locked" / "a.txt"):
        pass
    with pytest.raises(StorageError, match="permission"), whole_folder(tmp_path / "locked" / "folder"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_really_is_full_is_a_sentence(place: Path, before: dict[str, str]) -> None:
    with pytest.raises(StorageError, match="full"), whole_file(place / "kept.txt") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("x" * 100_000)
    assert contents(place) == before


def test_other_errors_of_the_system_pass_unchanged(place: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(place / "kept.txt"):
        raise FileNotFoundError(errno.ENOENT, "gone", "input.nii")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "out" / "case"
    with whole_folder(target) as temporary:
        (temporary / "a.txt").write_text("a")
        assert not target.exists()
    assert contents(tmp_path) == {"out/case/a.txt": "a"}


def test_an_existing_folder_is_not_replaced_unasked(place: Path, before: dict[str, str]) -> None:
    with pytest.raises(StorageError, match="exists"), whole_folder(place / "kept"):
        pytest.fail("the work must not even begin")
    assert contents(place) == before


def test_an_existing_folder_is_replaced_whole_when_asked(place: Path) -> None:
    with whole_folder(place / "kept", replace=True) as temporary:
        (temporary / "c.txt").write_text("after")
    assert contents(place / "kept") == {"c.txt": "after"}
    assert sorted(path.name for path in place.iterdir()) == ["kept", "kept.txt"]


@pytest.mark.parametrize("crash", [ValueError("x"), KeyboardInterrupt(), Crash(), OSError(errno.ENOSPC, "full")])
@pytest.mark.parametrize("name", ["kept", "fresh"])
def test_a_crash_in_the_middle_of_a_folder_leaves_everything(
    place: Path, before: dict[str, str], crash: BaseException, name: str
) -> None:
    expected = StorageError if isinstance(crash, OSError) else type(crash)
    with pytest.raises(expected), whole_folder(place / name, replace=True) as temporary:
        (temporary / "half.txt").write_text("half")
        raise crash
    assert contents(place) == before
    assert sorted(path.name for path in place.iterdir()) == ["kept", "kept.txt"]


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), KeyboardInterrupt(), Crash()])
@pytest.mark.parametrize("number", [1, 2])
def test_a_crash_between_the_renames_of_a_folder_brings_the_earlier_one_back(
    place: Path,
    before: dict[str, str],
    renames_that_fail: Callable[..., None],
    number: int,
    error: BaseException,
) -> None:
    renames_that_fail(number, error=error)
    expected = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), whole_folder(place / "kept", replace=True) as temporary:
        (temporary / "c.txt").write_text("after")
    assert contents(place) == before


def test_the_earlier_folder_is_kept_aside_when_it_cannot_be_brought_back(
    place: Path, renames_that_fail: Callable[..., None]
) -> None:
    renames_that_fail(2, 3, error=OSError(errno.EIO, "broken disk"))
    with pytest.raises(OSError, match="broken disk"), whole_folder(place / "kept", replace=True) as temporary:
        (temporary / "c.txt").write_text("after")
    assert "before a" in contents(place).values()
