import hashlib
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from layerwise.files import sha256_of, write_text_whole, written_whole


class Interrupted(BaseException):
    """Like KeyboardInterrupt: no ordinary error."""


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "deep" / "er" / "a.json"
    write_text_whole(target, "Äpfel\n")
    assert target.read_text(encoding="utf-8") == "Äpfel\n"
    assert list(target.parent.iterdir()) == [target]


def test_nothing_is_there_before_the_block_ends(tmp_path):
    with written_whole(tmp_path / "a") as scratch:
        assert not scratch.exists()
        assert scratch.parent.parent == tmp_path, "a rename across file systems would not be whole"
        scratch.write_text("half")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_text() == "half"


@pytest.mark.parametrize("error", [ValueError, Interrupted])
def test_an_error_leaves_the_old_file_and_no_scratch(tmp_path, error):
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(error), written_whole(target) as scratch:
        scratch.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("1")
    with written_whole(target) as scratch:
        (scratch / "sub").mkdir(parents=True)
        (scratch / "sub" / "new").write_text("2")
    assert [p.name for p in target.rglob("*")] == ["sub", "new"]
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_folder(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("1")
    with pytest.raises(ValueError), written_whole(target) as scratch:
        scratch.mkdir()
        raise ValueError
    assert [p.name for p in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failing_last_rename_brings_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("1")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"disk full"), written_whole(target) as scratch:
        scratch.mkdir()
    assert [p.name for p in target.iterdir()] == ["old"]


def interrupting(function):
    """Return `function` with a real interrupt after its first call that succeeds."""
    waiting = [signal.SIGINT]

    def called(*args, **options):
        result = function(*args, **options)
        while waiting:
            signal.raise_signal(waiting.pop())
        return result

    return called


@pytest.mark.parametrize(("owner", "name"), [(Path, "rename"), (Path, "replace"), (shutil, "rmtree")])
def test_an_interrupt_during_the_renames_waits_for_their_end(tmp_path, monkeypatch, owner, name):
    """Ended between the two renames, there would be neither the old folder nor the new one."""
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("1")
    monkeypatch.setattr(owner, name, interrupting(getattr(owner, name)))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), written_whole(target) as scratch:
        scratch.mkdir()
        (scratch / "new").write_text("2")
    assert [p.name for p in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_right_behind_the_scratch_folder_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "mkdir", interrupting(os.mkdir))
    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_interrupt_stays_ignored(tmp_path, monkeypatch):
    """As under `nohup`, or in a shell's background."""
    monkeypatch.setattr(Path, "replace", interrupting(Path.replace))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        write_text_whole(tmp_path / "a", "whole")
    finally:
        signal.signal(signal.SIGINT, before)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_another_thread_writes_too(tmp_path):
    thread = threading.Thread(target=write_text_whole, args=(tmp_path / "a", "whole"))
    thread.start()
    thread.join()
    assert (tmp_path / "a").read_text() == "whole"


def test_a_folder_of_any_name_is_replaced(tmp_path):
    target = tmp_path / "replaced"
    for text in ("old", "new"):
        with written_whole(target) as scratch:
            scratch.mkdir()
            (scratch / "a").write_text(text)
    assert (target / "a").read_text() == "new"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_checksum(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    real, link = tmp_path / "deep" / "real", tmp_path / "link"
    real.parent.mkdir()
    real.write_text("old")
    link.symlink_to(Path("deep") / "real")
    write_text_whole(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert sorted(tmp_path.rglob("*")) == [real.parent, real, link]


def test_a_link_to_nothing_yet_is_filled(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    write_text_whole(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("linked", [True, False])
def test_a_pipe_is_not_replaced(tmp_path, linked):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with pytest.raises(FileExistsError, match=r"not a regular file"):
        write_text_whole(link if linked else pipe, "new")
    assert pipe.is_fifo()
    assert link.is_symlink()


def test_a_device_is_not_replaced():
    with pytest.raises(FileExistsError, match=r"not a regular file: '/dev/null'"):
        write_text_whole(Path("/dev/null"), "new")
    assert Path("/dev/null").is_char_device()
