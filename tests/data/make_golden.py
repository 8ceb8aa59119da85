#!/usr/bin/env python3
"""Writes golden.inc: hashes of what Pillow and torchvision make of synthetic images.

    python3 make_golden.py > golden.inc        # Pillow 13, torchvision; not run by the tests

The images are made by the same few lines here and in golden_test.cpp, so only hashes are kept.
"""
import random

import numpy as np
import PIL
from PIL import Image
import torchvision.transforms as T
import torchvision.transforms.functional as F
from torchvision.transforms import InterpolationMode

# Older ones never filter the columns first; see src/data/resample.h.
assert int(PIL.__version__.split(".")[0]) >= 13, PIL.__version__

PILLOW = [Image.NEAREST, Image.BILINEAR, Image.BICUBIC]
TORCH = [InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC]
NAMES = ["kNearest", "kBilinear", "kBicubic"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def image(width, height, channels):
    """Noise with black, white and smooth stretches."""
    state, out = 12345, np.zeros((height, width, channels), np.uint8)
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                state = (state * 1103515245 + 12345) % 2**32
                noise = state >> 24
                if (x // 5 + y // 7) % 3 == 0:
                    value = 255 if noise >= 128 else 0
                elif (x // 5 + y // 7) % 3 == 1:
                    value = (3 * x + 5 * y + 40 * c) % 256
                else:
                    value = noise
                out[y, x, c] = value
    return Image.fromarray(out[:, :, 0] if channels == 1 else out)


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 % 2**64
    return f"0x{h:016x}ULL"


def pixels(image):
    return fnv(np.asarray(image).tobytes())


def main():
    random.seed(1)
    sides = [1, 2, 3, 5, 7, 16, 31, 32, 33, 64, 100, 127]
    print("// Made by make_golden.py; do not edit.")
    print("#ifdef RESIZE  // width, height, channels -> width, height")
    for case in range(90):
        w, h, ow, oh = (random.choice(sides) for _ in range(4))
        if case % 10 == 0:
            ow = w
        if case % 13 == 0:
            oh = h
        c, m = random.choice([1, 3]), case % 3
        out = image(w, h, c).resize((ow, oh), PILLOW[m])
        print(f"RESIZE({w}, {h}, {c}, {ow}, {oh}, {NAMES[m]}, {pixels(out)})")
    for w, h, ow, oh, m in [(2, 333, 7, 40, 1), (3, 301, 2, 300, 2), (1, 102, 64, 1, 1), (500, 375, 341, 256, 1),
                            (100, 333, 64, 200, 2), (64, 127, 40, 80, 1), (64, 127, 40, 78, 1)]:
        print(f"RESIZE({w}, {h}, 3, {ow}, {oh}, {NAMES[m]}, {pixels(image(w, h, 3).resize((ow, oh), PILLOW[m]))})")
    print("#endif\n#ifdef PREPROCESS  // width, height, channels; resize, crop width, height, channels")
    cases = [(500, 375, 3, 256, 224, 224, 3, 1), (375, 500, 3, 256, 224, 224, 3, 1)]
    for case in range(40):
        w, h = random.choice(sides[3:]), random.choice(sides[3:])
        crop = random.choice([(32, 32), (31, 28), (56, 57), (64, 20)])
        cases.append((w, h, random.choice([1, 3]), random.choice([0, 8, 31, 40, 57, 64]), *crop,
                      random.choice([1, 3]), case % 3))
    for w, h, c, r, cw, ch, oc, m in cases:
        out = image(w, h, c).convert("L" if oc == 1 else "RGB")
        if r:
            out = T.Resize(r, TORCH[m])(out)
        out = T.CenterCrop((ch, cw))(out)
        floats = T.Normalize(MEAN[:oc], STD[:oc])(T.ToTensor()(out)).numpy()
        print(f"PREPROCESS({w}, {h}, {c}, {r}, {cw}, {ch}, {oc}, {NAMES[m]}, {pixels(out)}, {fnv(floats.tobytes())})")
    print("#endif\n#ifdef VIEW  // width, height; resize, crop; crops, index")
    for w, h, r, crop in [(50, 37, 40, 32), (33, 64, 0, 30), (31, 33, 45, 44)]:
        image = image(w, h, 3)
        image = T.Resize(r)(image) if r else image
        for index, view in enumerate(T.TenCrop(crop)(image)):
            print(f"VIEW({w}, {h}, {r}, {crop}, 10, {index}, {pixels(view)})")
    for index, image in enumerate([image(21, 16, 3), F.hflip(image(21, 16, 3))]):  # padded
        print(f"VIEW(21, 16, 0, 32, 2, {index}, {pixels(T.CenterCrop(32)(image))})")
    print("#endif\n#ifdef CHANGE  // width, height, channels, expression on `p` and scratch `s`")
    changes = [
        ("adjust_brightness(p, 0.3F)", lambda i: F.adjust_brightness(i, 0.3)),
        ("adjust_brightness(p, 1.7F)", lambda i: F.adjust_brightness(i, 1.7)),
        ("adjust_contrast(p, 0.4F)", lambda i: F.adjust_contrast(i, 0.4)),
        ("adjust_contrast(p, 1.6F)", lambda i: F.adjust_contrast(i, 1.6)),
        ("adjust_saturation(p, 0.2F)", lambda i: F.adjust_saturation(i, 0.2)),
        ("adjust_saturation(p, 1.9F)", lambda i: F.adjust_saturation(i, 1.9)),
        ("adjust_sharpness(p, 0.1F, s)", lambda i: F.adjust_sharpness(i, 0.1)),
        ("adjust_sharpness(p, 1.9F, s)", lambda i: F.adjust_sharpness(i, 1.9)),
        ("adjust_hue(p, 0.2)", lambda i: F.adjust_hue(i, 0.2)),
        ("adjust_hue(p, -0.45)", lambda i: F.adjust_hue(i, -0.45)),
        ("posterize(p, 4)", lambda i: F.posterize(i, 4)),
        ("solarize(p, 76.5)", lambda i: F.solarize(i, 76.5)),
        ("autocontrast(p)", F.autocontrast),
        ("equalize(p)", F.equalize),
        ("transform(p, rotation_about_center(33.3, p.width, p.height), Interpolation::kBilinear, s)",
         lambda i: F.rotate(i, 33.3, InterpolationMode.BILINEAR)),
        ("transform(p, rotation_about_center(-90, p.width, p.height), Interpolation::kBilinear, s)",
         lambda i: F.rotate(i, -90, InterpolationMode.BILINEAR)),
        ("transform(p, AffineMap{1, 0.25, 0, 0, 1, 0}, Interpolation::kNearest, s)",
         lambda i: i.transform(i.size, Image.AFFINE, (1, 0.25, 0, 0, 1, 0), Image.NEAREST)),
        ("transform(p, AffineMap{1, 0, 6, 0, 1, -3}, Interpolation::kNearest, s)",
         lambda i: i.transform(i.size, Image.AFFINE, (1, 0, 6, 0, 1, -3), Image.NEAREST)),
    ]
    for expression, change in changes:
        for w, h, c in [(32, 32, 3), (31, 17, 1)]:
            # A little less contrast than `image`, so that autocontrast has something to do.
            image = F.adjust_contrast(image(w, h, c), 0.7)
            print(f"CHANGE({w}, {h}, {c}, ({expression}), {pixels(change(image))})")
    print("#endif")


main()
