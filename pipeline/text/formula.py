"""A formula in MathML as a line of text: 3/100, x^2, ∑_(i=1)^n i, √(a+b).

Choice: what a reader sees, in the signs that people type: `/ ^ _`, and brackets where a part is more than one sign
(after UnicodeMath, Unicode Technical Note 28), so that a fraction is not the number of its digits. Cost: a layout such
as a matrix is only listed. Alternative: the TeX that many pages carry along as an annotation, which readers of prose do
not see, and which then stands beside the formula itself; it is taken where there is nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

ATOM = re.compile(r"[\w.,']+|.?|\([^()]*\)")  # needs no brackets
RAISED = re.compile(r"[°∘′″‴*]+|[^\w\s(]|")  # read without a sign before them: 90°, f′, x¯
UNSEEN = frozenset({"annotation", "annotation-xml", "maligngroup", "malignmark", "mphantom", "none", "script", "style"})
BLANKS = re.compile(r"\s+")


@dataclass
class Node:
    """An element of MathML: its name, its attributes, the elements and pieces of text in it."""

    tag: str
    attributes: Mapping[str, str]
    children: list[Node | str] = field(default_factory=list)


class Formula:
    """A `math` element, as a parser meets it: begin, data, end; `text` is what it says."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.root = Node("math", attributes)
        self.open = [self.root]
        self.tex: list[str] = []

    def begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element within begins."""
        node = Node(tag, attributes)
        self.open[-1].children.append(node)
        self.open.append(node)

    def end(self) -> None:
        """The element that began last, and has not ended, ends."""
        if len(self.open) > 1:
            self.open.pop()

    def data(self, text: str) -> None:
        """Characters between two tags."""
        if self.open[-1].tag == "annotation" and "tex" in self.open[-1].attributes.get("encoding", "").lower():
            self.tex.append(text)
        elif text and not text.isspace():
            self.open[-1].children.append(text)

    def text(self) -> str:
        """The formula on one line; where nothing of it is shown, what it says to those who cannot see it."""
        try:
            shown = one_line(linear(self.root))
        except RecursionError:  # a page of a thousand fractions within one another
            shown = ""
        return shown or one_line(self.root.attributes.get("alttext", "")) or one_line("".join(self.tex))


def one_line(text: str) -> str:
    """White space collapsed, none at the ends."""
    return BLANKS.sub(" ", text).strip()


def linear(node: Node | str) -> str:
    """The text of an element, or the piece of text."""
    if isinstance(node, str):
        return node
    if node.tag in UNSEEN:
        return ""
    if node.tag in TOKENS:
        return token(node)
    parts = [linear(child) for child in node.children if isinstance(child, Node) or node.tag not in LAYOUTS]
    if node.tag in LAYOUTS:
        return LAYOUTS[node.tag](node, [part.strip() for part in parts])
    return joined(parts)


def token(node: Node) -> str:
    """The text of a token element; names of several letters keep a distance: sin x."""
    text = one_line("".join(map(linear, node.children))).replace("\u2061", " ")  # function application
    if node.tag == "mtext" or (node.tag == "mi" and len(text) > 1 and text.isalpha()):
        return f" {text} "
    return f'"{text}"' if node.tag == "ms" else text


def joined(parts: list[str]) -> str:
    """The parts side by side; two numbers do not become one."""
    line = ""
    for part in parts:
        line += " " * (line[-1:].isdigit() and part[:1].isdigit()) + part
    return line


def bracketed(text: str) -> str:
    """The text, in brackets unless it is one sign, number or word."""
    inner = text.strip()
    return inner if ATOM.fullmatch(inner) else f"({inner})"


def padded(parts: list[str], count: int) -> list[str]:
    """The first so many parts, empty ones added where there are fewer."""
    return [*parts, *[""] * count][:count]


# --- layouts: each gives an element's text, from the texts of its children


def fraction(node: Node, parts: list[str]) -> str:
    """Above/below; ¦ where there is no bar, as in binomial coefficients."""
    bar = "¦" if node.attributes.get("linethickness", "").startswith("0") else "/"
    return bar.join(map(bracketed, parts))


def power(_: Node, parts: list[str]) -> str:
    """A base with a script above it; degrees, primes and accents follow at once."""
    base, above = padded(parts, 2)
    return bracketed(base) + (above if RAISED.fullmatch(above) else f"^{bracketed(above)}")


def index(_: Node, parts: list[str]) -> str:
    """A base with a script below it."""
    return "_".join(map(bracketed, parts))


def both(node: Node, parts: list[str]) -> str:
    """A base with a script below and another above it."""
    base, below, above = padded(parts, 3)
    return index(node, [base, below]) + power(node, ["", above])


def root(_: Node, parts: list[str]) -> str:
    """The root of any degree, as a power."""
    base, degree = padded(parts, 2)
    return f"{bracketed(base)}^(1/{bracketed(degree)})"


def fenced(node: Node, parts: list[str]) -> str:
    """Parts between brackets, which are attributes."""
    return node.attributes.get("open", "(") + ", ".join(parts) + node.attributes.get("close", ")")


TOKENS = frozenset({"mi", "mn", "mo", "ms", "mtext", "ci", "cn"})
LAYOUTS: dict[str, Callable[[Node, list[str]], str]] = {
    "mfrac": fraction,
    "msup": power,
    "mover": power,
    "msub": index,
    "munder": index,
    "msubsup": both,
    "munderover": both,
    "mroot": root,
    "mfenced": fenced,
    "msqrt": lambda _, parts: f"√{bracketed(joined(parts))}",
    "mmultiscripts": lambda _, parts: f"{bracketed(joined(parts[:1]))}_({' '.join(filter(None, parts[1:]))})",
    "maction": lambda _, parts: joined(parts[:1]),
    "mspace": lambda *_: " ",
    "mtable": lambda _, parts: "; ".join(parts),
    "mtr": lambda _, parts: ", ".join(parts),
    "mlabeledtr": lambda _, parts: ", ".join(parts),
}
