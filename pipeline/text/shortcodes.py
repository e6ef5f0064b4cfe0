"""Shortcodes: marks in square brackets that WordPress and its page builders leave in a text when the plugin is gone.

Choice: the names that builders begin with, any name of two parts that has an attribute or ends something, and those
which WordPress itself knows (developer.wordpress.org/plugins/shortcodes): `[vc_row full="1"]`, `[/my-box]`. Cost: such
a mark that a text is about goes too, outside of `pre`. Alternative: all words in brackets, often the author's own.
"""

from __future__ import annotations

import re

BUILDERS = (  # WPBakery, Divi, Avada, Enfold, Salient, Cornerstone, Beaver Builder, Jupiter, Qode, Newspaper …
    "vc|et_pb|fusion|av|nectar|cs|fl|kc|mk|mkdf?|qodef?|us|ux|su|td|tdc|dt|ult|uncode|woodmart|porto|tatsu"
)
NAME = r"(?:[a-z]\w{0,40}[_-][\w-]{1,40}|caption|gallery|embed|audio|video|playlist)"
REST = r"[^\[\]]{0,3000}"
ATTRIBUTE = r"\s{1,9}[\w-]{1,40}=[\"'”“″′»]"  # quotation marks as WordPress prettifies them
SHORTCODE = re.compile(rf"\[/?(?:(?:{BUILDERS})_\w{{1,60}}(?:\s{REST})?|{NAME}{ATTRIBUTE}{REST})\]|\[/{NAME}\]")
