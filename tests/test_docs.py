"""README and docs: their examples run as they stand, and the first commands are those promised."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # for those that save something
    examples = blocks(page, "python")
    assert examples
    namespace = {"__name__": "__main__"}
    for example in examples:
        exec(compile(example, page.name, "exec"), namespace)


def test_the_readme_begins_with_the_main_job_and_the_tests():
    assert blocks(ROOT / "README.md", "bash")[:2] == ["make bench\n", "make test\n"]
