"""Converts text of a user to a part of a file name."""

from __future__ import annotations

import re
from urllib.parse import quote

LONGEST = 100
"""Characters that a name keeps: a run's folder, its lock and its parts add hashes and endings, and 255 is the limit."""


def path_name(text: str) -> str:
    """Text as lower-case ASCII letters, digits, `_`, `-` and, for any other byte of its UTF-8, `%` and two digits.

    Such a name is one part of a path on every file system, hidden on none, and does not depend on the locale.
    `urllib.parse.unquote` is the inverse, except for case and for text beyond LONGEST characters; names that must be
    unique need a hash in addition.
    """
    quoted = quote(text.lower(), safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    return re.sub(r"%[0-9A-F]?$", "", quoted[:LONGEST])
