"""HTML that is well-formed by construction, with text escaped unless it is already HTML."""

from collections.abc import Iterable
from html import escape

Content = str | int | float


class Markup(str):
    """HTML. Any other text is escaped when it is put into an element."""

    __slots__ = ()


NOTHING = Markup("&ndash;")
_VOID = frozenset(("br", "img", "meta"))


def element(tag: str, *content: Content, **attributes: Content | None) -> Markup:
    """Return an element; `class_` is class, `stroke_width` stroke-width, and None leaves one out."""
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{named}>")
    return Markup(f"<{tag}{named}>{joined(content)}</{tag}>")


def joined(parts: Iterable[Content]) -> Markup:
    """Return the parts one after another."""
    return Markup("".join(_escaped(part) for part in parts))


def filled(template: str, **values: Content) -> Markup:
    """Return the project's own HTML with values, which are escaped, in its braces."""
    return Markup(template.format(**{name: _escaped(value) for name, value in values.items()}))


def paragraphs(template: str, **values: Content) -> Markup:
    """Return a filled template with an element ``p`` for each of its parts, which empty lines separate."""
    return joined(
        element("p", filled(part.strip(), **values)) for part in template.strip().split("\n\n")
    )


def section(identifier: str, title: str, *content: Content) -> Markup:
    """Return a part of the page, with its title."""
    heading = element("h2", title, id=f"{identifier}-title")
    return element(
        "section", heading, *content, id=identifier, aria_labelledby=f"{identifier}-title"
    )


def number(value: float | None, text: str) -> Markup:
    """Return a formatted number, with its exact value in the attribute `value` for programs."""
    return (
        element("span", NOTHING, class_="none")
        if value is None
        else element("data", text, value=value)
    )


def table(
    identifier: str, caption: Content, titles: Iterable[Content], rows: Iterable[Iterable[Content]]
) -> Markup:
    """Return a table in a box of its own, in which it scrolls; the first cell of a row names it."""
    head = element("tr", *(element("th", title, scope="col") for title in titles))
    body = joined(_row(row) for row in rows)
    whole = element(
        "table",
        element("thead", head),
        element("tbody", body),
        id=identifier,
        aria_labelledby=f"{identifier}-caption",
    )
    caption_id = f"{identifier}-caption"
    return element(
        "figure", element("figcaption", caption, id=caption_id), scroll_box(caption_id, whole)
    )


def scroll_box(caption_id: str, content: Markup, class_name: str = "scroll") -> Markup:
    """Return a box that scrolls if its content is too wide, by the keyboard too."""
    return element(
        "div", content, class_=class_name, tabindex=0, role="region", aria_labelledby=caption_id
    )


def _row(cells: Iterable[Content]) -> Markup:
    first, *others = cells
    return element(
        "tr", element("th", first, scope="row"), *(element("td", cell) for cell in others)
    )


def _escaped(part: Content) -> str:
    return part if isinstance(part, Markup) else escape(str(part))
