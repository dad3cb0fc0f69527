"""What the files around the package promise each other."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

import triopool

ROOT = Path(__file__).parent.parent


def read(name: str) -> str:
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"needs {name}, which a source distribution does not have")
    return path.read_text(encoding="utf-8")


def test_ci_runs_the_very_command_that_the_readme_tells_to_type() -> None:
    command = re.search(r"^test_command='(.+)'$", read(".ci/run"), re.MULTILINE)
    assert command is not None
    assert command[1] in read("README.md")
    assert command[1] in read("CONTRIBUTING.md")


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert f"## [{triopool.__version__}]" in read("CHANGELOG.md")


def test_trio_typing_is_nobodys_dependency() -> None:
    """Its stubs shadow trio's own types: it would break the type checking of our users."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    assert not [name for name in project["dependencies"] + extras if "trio-typing" in name]


@pytest.mark.parametrize("page", ["docs/scenarios.md", "docs/httpx.md", "docs/security.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", read(page)))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 8
    assert not named - there


def test_the_version_is_said_once_and_is_what_was_built() -> None:
    assert "version" in tomllib.loads(read("pyproject.toml"))["project"]["dynamic"]
    assert importlib.metadata.version("triopool") == triopool.__version__


def test_the_readme_on_a_package_index_has_no_link_that_leads_nowhere() -> None:
    hook = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["metadata"]["hooks"]
    text = read("README.md")
    for change in hook["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(change["pattern"], change["replacement"], text)
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert links
    assert not [link for link in links if not link.startswith(("https://", "#"))]
    assert "CONTRIBUTING.md" in text
    # Code may look like a link: that stays as it is.
    code = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    assert code.findall(text) == code.findall(read("README.md"))


def test_a_source_distribution_has_what_the_readme_links_to() -> None:
    included = tomllib.loads(read("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["sdist"]
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", read("README.md") + read("CONTRIBUTING.md"))
    assert {link.partition("/")[0] for link in links} <= set(included["include"])
    for link in links:
        assert (ROOT / link).exists()
