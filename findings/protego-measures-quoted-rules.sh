#!/usr/bin/env bash
# protego 0.7.0: the longest rule of a robots.txt is measured once it is percent-encoded, so that a `?` counts for three.
#
# RFC 9309, section 2.2.2: "The most specific match found MUST be used. The most specific match is the match that has the
# most octets." `Disallow: /cart` (5 octets) is about /cart?add=1, and so is `Allow: /*?` (3 octets): the longer one
# forbids. protego quotes the pattern first (`/*%3F`, 5 octets), finds both equal, and Allow wins. `Allow: *.js` (4 octets)
# loses against `Disallow: /*?` (3), which counts as 5. Only octets beyond ASCII are to be percent-encoded before; a `?`
# stands in the pattern as it stands in the address.
#
# Seen on 2026-11-29 with CPython 3.11: allowed, disallowed; by the RFC it is the other way round. Fails if that changes.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check protego==0.7.0
found=$("$folder/env/bin/python" - <<'PY'
from protego import Protego

for allow, disallow, address in (("/*?", "/cart", "/cart?add=1"), ("*.js", "/*?", "/b.js?v=1")):
    rules = Protego.parse(f"User-agent: *\nAllow: {allow}\nDisallow: {disallow}\n")
    print("allowed" if rules.can_fetch(f"http://a.test{address}", "anybody") else "disallowed")
PY
)
echo "$found"
[ "$found" = $'allowed\ndisallowed' ] || { echo "no longer as described" >&2; exit 1; }
