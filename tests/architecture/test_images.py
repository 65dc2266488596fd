"""The pictures in the docs: each is shown somewhere, small, and one that the command takes."""

import re
import struct
from pathlib import Path

import pytest

from tests import screenshots

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGES = sorted((ROOT / "docs" / "images").iterdir())
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
NARROWEST = 360


def shown() -> dict[Path, list[str]]:
    """Each picture that a page shows, with its words there."""
    found: dict[Path, list[str]] = {}
    for page in PAGES:
        for words, path in SHOWN.findall(page.read_text()):
            found.setdefault((page.parent / path).resolve(), []).append(words)
    return found


def test_there_is_a_picture_of_each_page_that_the_command_takes_and_no_other() -> None:
    taken = {f"{picture.name}.png" for picture in screenshots.pictures("some-call")}
    assert {image.name for image in IMAGES} == taken


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_each_picture_is_shown_and_said_in_words(image: Path) -> None:
    assert all(len(words) > 10 for words in shown()[image])


def test_no_page_shows_what_is_not_there() -> None:
    assert set(shown()) <= set(IMAGES)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_each_picture_is_a_small_one(image: Path) -> None:
    data = image.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(data) <= screenshots.LARGEST == 150_000
    assert struct.unpack(">I", data[16:20])[0] >= NARROWEST
