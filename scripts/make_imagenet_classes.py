#!/usr/bin/env python3
"""Writes src/data/imagenet_classes.inc: the 1000 classes of ILSVRC 2012 in their usual order, with
the names under which torchvision (BSD-3-Clause) lists them. Needs torchvision and timm's sources:

    python3 scripts/make_imagenet_classes.py SITE-PACKAGES > src/data/imagenet_classes.inc
"""
import sys
from pathlib import Path

packages = Path(sys.argv[1])
meta = {}
exec((packages / "torchvision/models/_meta.py").read_text(), meta)
names = meta["_IMAGENET_CATEGORIES"]
synsets = (packages / "timm/data/_info/imagenet_synsets.txt").read_text().split()
assert len(names) == len(set(names)) == len(synsets) == 1000 and synsets == sorted(synsets)
print("// Written by scripts/make_imagenet_classes.py: {WordNet's number, name}.")
for synset, name in zip(synsets, names):
    print('{"%s", "%s"},' % (synset, name))
