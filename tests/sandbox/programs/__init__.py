"""Collections of programs: those that have to work, and those that must not get out."""

from pathlib import Path

HERE = Path(__file__).parent
_NEXT, _SAYS = "### ", "=== says\n"


def _sections(name: str) -> dict[str, str]:
    _, *parts = (HERE / name).read_text().removesuffix("\n").split(f"\n{_NEXT}")
    return {title: text + "\n" for title, _, text in (part.partition("\n") for part in parts)}


BENIGN: dict[str, tuple[str, str]] = {
    title: (text.partition(_SAYS)[0], text.partition(_SAYS)[2])
    for title, text in _sections("benign.txt").items()
}
"""Code, and what it prints."""

ESCAPES = _sections("escapes.txt")
"""Each prints ESCAPED if it gets where it wants."""
