"""Blocks of code in Markdown pages."""

import re


def blocks(page, language):
    """Yield the number of the first line and the text of every block in a language."""
    text = page.read_text("utf-8")
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, found.start()) + 2, found[1]
