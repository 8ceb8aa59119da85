#!/usr/bin/env python3
"""Writes src/core/unicode_tables.inc: canonical decompositions and combining classes of Unicode,
which later versions of it extend and never change.

    python3 scripts/make_unicode_tables.py > src/core/unicode_tables.inc
"""
import sys
import unicodedata as u

HANGUL = range(0xAC00, 0xD7A4)  # computed, not listed
points = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


def rows(items, per_line):
    for i in range(0, len(items), per_line):
        print("    " + " ".join(items[i:i + per_line]))


print(f"// Written by scripts/make_unicode_tables.py from Unicode {u.unidata_version}.")
print("constexpr Decomposition kDecompositions[] = {")
parts = [(c, u.normalize("NFD", chr(c))) for c in points if c not in HANGUL]
parts = [(c, d) for c, d in parts if d != chr(c)]
assert all(len(d) <= 4 for _, d in parts)
rows(["{0x%x, {%s}}," % (c, ", ".join("0x%x" % ord(x) for x in d)) for c, d in parts], 3)
print("};")
ranges = []
for c in points:
    k = u.combining(chr(c))
    if k and ranges and ranges[-1][1:] == [c - 1, k]:
        ranges[-1][1] = c
    elif k:
        ranges.append([c, c, k])
print("constexpr CombiningClass kCombiningClasses[] = {")
rows(["{0x%x, 0x%x, %d}," % tuple(r) for r in ranges], 4)
print("};")
