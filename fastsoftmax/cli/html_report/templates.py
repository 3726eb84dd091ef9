"""The picture of the learned weights, if samples are images."""

from base64 import b64encode

from .facts import Facts
from .markup import Markup, element, scroll_box, section

_TEXT = (
    "The weights of a class have the shape of an image: bright pixels with a positive weight speak for "
    "the class, those with a negative one against it. That is all that a linear classifier knows."
)


def templates_section(facts: Facts, picture: bytes) -> Markup:
    """Return the section; `picture` is a PNG."""
    backend = list(facts.results)[-1]
    caption = f"Weight of every pixel for each class, as learned by {backend}"
    image = element(
        "img",
        src="data:image/png;base64," + b64encode(picture).decode("ascii"),
        alt=f"{facts.c} images, one for each class: the weight of every pixel, positive ones in one "
        "colour and negative ones in another",
    )
    return section(
        "templates",
        "What was learned",
        element("p", _TEXT),
        element(
            "figure",
            element("figcaption", caption, id="templates-caption"),
            scroll_box("templates-caption", image, "scroll paper"),
        ),
    )
