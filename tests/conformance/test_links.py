import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """As code hosts make them: lower case, blanks to hyphens, no punctuation."""
    headings = _HEADING.findall(page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings
    }


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in _LINK.findall(page.read_text()):
            if not link.startswith(("http://", "https://", "mailto:")):
                yield page, link


@pytest.mark.parametrize(
    ("page", "link"),
    list(_links()),
    ids=[f"{page.relative_to(ROOT)}:{link}" for page, link in _links()],
)
def test_links_between_documents_lead_somewhere(page: Path, link: str) -> None:
    """The file exists, and so does the heading where one is named."""
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    assert target.exists()
    if anchor and target.suffix == ".md":
        assert anchor in _anchors(target)
