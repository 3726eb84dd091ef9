"""How Sphinx makes the site of these pages: `make docs`."""

import os
import re
import sys
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst
from sphinx_gallery.sorting import ExplicitOrder
from threadpoolctl import threadpool_limits

import fastsoftmax

_DOCS = Path(__file__).parent
_ROOT = _DOCS.parent
sys.path.insert(0, str(_DOCS))

project = "fastsoftmax"
author = "the fastsoftmax developers"
release = version = fastsoftmax.__version__
extensions = [
    "mathml",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["gallery", "lesson"]
suppress_warnings = ["config.cache"]  # the gallery's configuration holds functions

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"

templates_path = ["templates"]
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say it in words
numpydoc_show_class_members = False  # autosummary's template of a class does

html_theme = "furo"
html_title = f"fastsoftmax {release}"
html_show_copyright = False
html_show_sourcelink = False
html_static_path = ["static"]
html_css_files = ["site.css"]


def _save_figures(block, block_vars, gallery_conf):
    """Keep the picture of the figure that a block has made without pyplot, as fastsoftmax.plotting does."""
    figure = block_vars["example_globals"].pop("figure", None)
    if figure is None or hasattr(figure, "number"):  # pyplot's
        return ""
    path = next(block_vars["image_path_iterator"])
    figure.savefig(path, dpi=100)
    return figure_rst([path], gallery_conf["src_dir"])


sphinx_gallery_conf = {
    "image_scrapers": ("matplotlib", _save_figures),
    "capture_repr": (),
    "examples_dirs": "gallery",
    "gallery_dirs": "generated/gallery",
    "within_subsection_order": ExplicitOrder(
        ["plot_backends.py", "plot_templates.py", "plot_penalty.py", "plot_memory.py"]
    ),
    "abort_on_example_error": True,
    "show_memory": False,
    "write_computation_times": False,
    "download_all_examples": False,
    "show_signature": False,
    "copyfile_regex": "",
}

# Pages that lie where a visitor of the repository looks for them: the site has copies.
_ELSEWHERE = {
    "ARCHITECTURE.md": "architecture",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "SECURITY.md": "security",
    "csrc/README.md": "kernels",
}
_COPIES = _DOCS / "generated" / "repository"
_LINK = re.compile(r"\[((?:[^][]|\[[^]]*\])*)\]\((?!\w+:|#)([^)#\s]*)(#[^)\s]*)?\)")


def _with_links_of_the_site(text, folder):
    """Links to pages that are copied lead to the copies; those to code, of which there is no page, go."""

    def link(found):
        words, path, anchor = found[1], found[2], found[3] or ""
        target = Path(os.path.normpath(folder / path))
        name = target.relative_to(_ROOT).as_posix()
        if name in _ELSEWHERE:
            return f"[{words}](/generated/repository/{_ELSEWHERE[name]}.md{anchor})"
        if target.is_relative_to(_DOCS) and target.suffix in (".md", ".png", ".rst"):
            return f"[{words}](/{target.relative_to(_DOCS).as_posix()}{anchor})"
        return words

    return _LINK.sub(link, text)


def _copy_pages(app):
    _COPIES.mkdir(parents=True, exist_ok=True)
    for source, name in _ELSEWHERE.items():
        path = _ROOT / source
        text = _with_links_of_the_site(path.read_text(), path.parent)
        copy = _COPIES / f"{name}.md"
        if not copy.exists() or copy.read_text() != text:
            copy.write_text(text)


def _write_lesson(app):
    sys.path.insert(0, str(_DOCS / "lesson"))  # the cells import from there, too
    import notebooks

    folder = _DOCS / "generated" / "lesson"
    folder.mkdir(parents=True, exist_ok=True)
    changed = max(path.stat().st_mtime for path in notebooks.LESSON.glob("*.py"))
    for part in notebooks.PARTS:
        page = folder / f"{part.stem}.md"
        if not page.exists() or page.stat().st_mtime < changed:
            with threadpool_limits():  # restores what the cells limit
                notebooks.write_page(part, folder)


def _change_links(app, docname, source):
    path = _DOCS / f"{docname}.md"
    if path.exists() and _COPIES not in path.parents:
        source[0] = _with_links_of_the_site(source[0], path.parent)
    if (
        docname == "decisions/README"
    ):  # where a toctree would be text to a visitor of the repository
        source[0] += "\n:::{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n:::\n"


def setup(app):
    """Connect to what Sphinx calls."""
    app.connect("builder-inited", _copy_pages, priority=1)
    app.connect("builder-inited", _write_lesson, priority=1)
    app.connect("source-read", _change_links)
