from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from chatbot.resources import data_dir, home_dir, write_private


def test_home_can_be_moved(home: Path) -> None:
    assert home_dir() == home
    assert (data_dir() / "qa").is_dir()


def test_a_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_private(path, "하나")
    write_private(path, "둘")
    assert path.read_text(encoding="utf-8") == "둘"
    assert path.stat().st_mode & 0o077 == 0
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("alt")
    link.symlink_to(target)
    write_private(link, "neu")
    assert link.is_symlink() and target.read_text() == "neu"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    write_private(pipe, "흘러간다")
    reader.join(10)
    assert read == ["흘러간다"] and pipe.is_fifo()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_private(path, "하나")
    with pytest.raises(UnicodeEncodeError):
        write_private(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "하나" and len(list(tmp_path.iterdir())) == 1
