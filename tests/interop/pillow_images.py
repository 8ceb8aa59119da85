#!/usr/bin/env python3
"""Preprocessed images, to the bit: `resnet data tensor` against Pillow and torchvision.

    python tests/interop/pillow_images.py --resnet build/release/src/resnet [--photos FOLDER]

Makes images of every kind that both sides read, from noise, gradients, drawings and (with --photos) parts of
the photographs in FOLDER, and compares the network's input for several sizes, crops and interpolations.
`cjpeg` (libjpeg-turbo-progs) makes the JPEGs that Pillow cannot write; without it they are left out.
Exits with 1 if a single value differs.
"""
import argparse
import collections
import io
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import PIL
from PIL import Image, ImageFile
import torch
import torchvision
import torchvision.transforms as T
from torchvision.transforms import InterpolationMode

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = [(1, 1), (1, 37), (53, 1), (2, 3), (7, 8), (8, 8), (9, 17), (16, 16), (17, 33), (31, 30), (32, 32), (33, 90),
         (64, 48), (100, 75), (75, 250), (127, 65), (223, 225), (224, 224), (256, 256), (300, 200), (500, 375), (375, 500)]
#          resize, crop, interpolation, crops
SETTINGS = [(256, 224, "bilinear", 1), (232, 224, "bilinear", 10), (235, 224, "bicubic", 1), (36, 32, "bilinear", 1),
            (40, 33, "bicubic", 5), (0, 32, "bilinear", 1), (64, 97, "bilinear", 1), (160, 128, "nearest", 1)]
# Kinds of which one side refuses some; docs/NUMERICS.md has the reasons.
EXCEPTIONS = {"png cut short"}
MODES = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def contents(random, photos, width, height):
    """An RGB image of this size."""
    kind = random.integers(4 if photos else 3)
    if kind == 0:
        return Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
    if kind == 1:
        y, x = np.mgrid[0:height, 0:width]
        slope = random.uniform(-6, 6, (3, 2))
        return Image.fromarray(np.stack([(a * x + b * y + 128) % 256 for a, b in slope], -1).astype(np.uint8))
    if kind == 2:  # flat areas with hard edges
        out = np.zeros((height, width, 3), np.uint8)
        for _ in range(8):
            x, y = random.integers(width), random.integers(height)
            out[y:y + random.integers(1, height + 1), x:x + random.integers(1, width + 1)] = random.integers(0, 256, 3)
        return Image.fromarray(out)
    photo = photos[random.integers(len(photos))]
    x, y = (int(random.integers(max(1, a - b))) for a, b in zip(photo.size, (width, height)))
    return photo.crop((x, y, x + width, y + height))


def png(width, height, depth, color, rows, *chunks):
    """A PNG as no library writes it: `rows` are packed already."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in chunks) +
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + chunk(b"IEND", b""))


def packed(values, depth):
    """Rows of `depth`-bit samples."""
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in values]
    bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth:]
    return [np.packbits(row.reshape(-1)).tobytes() for row in bits]


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def cjpeg(image, *flags):
    return subprocess.run(["cjpeg", *flags], input=saved(image, "PPM"), capture_output=True, check=True).stdout


def makers():
    """Kind of image -> function(random, RGB image) -> bytes."""
    m = {}
    quality = lambda r: int(r.integers(20, 100))
    for name, code in [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)]:
        for progressive in (False, True):
            m[f"jpeg {name}{' progressive' if progressive else ''}"] = lambda r, i, code=code, p=progressive: saved(
                i, "JPEG", quality=quality(r), subsampling=code, progressive=p, optimize=bool(r.integers(2)))
    m["jpeg grey"] = lambda r, i: saved(i.convert("L"), "JPEG", quality=quality(r), progressive=bool(r.integers(2)))
    m["jpeg cmyk"] = lambda r, i: saved(i.convert("CMYK"), "JPEG", quality=quality(r))
    m["jpeg restart"] = lambda r, i: saved(i, "JPEG", quality=quality(r), restart_marker_blocks=int(r.integers(1, 9)))
    def with_orientation(r, i, kind="JPEG"):
        exif = Image.Exif()
        exif[0x0112] = int(r.integers(1, 9))
        return saved(i, kind, exif=exif.tobytes())
    m["jpeg exif"] = with_orientation
    m["png exif"] = lambda r, i: with_orientation(r, i, "PNG")
    m["webp exif"] = lambda r, i: with_orientation(r, i, "WEBP")
    if shutil.which("cjpeg"):
        for sample in ["1x2", "4x1", "2x2,2x1,1x2", "1x4", "4x2", "2x1,1x1,2x1"]:
            m[f"jpeg {sample}"] = lambda r, i, s=sample: cjpeg(i, "-sample", s, "-quality", str(quality(r)),
                                                               *(["-progressive"] if r.integers(2) else []))
        m["jpeg rgb"] = lambda r, i: cjpeg(i, "-rgb", "-quality", str(quality(r)))
        m["jpeg arithmetic"] = lambda r, i: cjpeg(i, "-arithmetic", "-quality", str(quality(r)))
    for depth in (1, 2, 4, 8, 16):
        m[f"png grey {depth}"] = lambda r, i, d=depth: png(*i.size, d, 0, packed(
            np.asarray(i.convert("L")).astype(np.uint16) * (257 if d == 16 else 1) >> max(0, 8 - d), d))
        if depth < 16:
            def palette(r, i, d=depth, transparent=False):
                q = i.quantize(2**d)
                colors = (q.getpalette() + [0] * 768)[:3 * 2**d]
                tail = [(b"tRNS", bytes(r.integers(0, 256, 2**d, np.uint8)))] if transparent else []
                return png(*i.size, d, 3, packed(np.asarray(q), d), (b"PLTE", bytes(colors)), *tail)
            m[f"png palette {depth}"] = palette
            m[f"png palette {depth} alpha"] = lambda r, i, f=palette: f(r, i, transparent=True)
    def alpha(r, i, mode="RGBA"):
        i = i.convert("L" if mode == "LA" else "RGB")
        i.putalpha(Image.fromarray(r.integers(0, 256, i.size[::-1], np.uint8)))
        return i
    m["png grey 16 noise"] = lambda r, i: png(*i.size, 16, 0, packed(r.integers(0, 2**16, i.size[::-1], np.uint16), 16))
    m["png grey 12 in 16"] = lambda r, i: png(*i.size, 16, 0, packed(r.integers(0, 300, i.size[::-1], np.uint16), 16))
    m["png grey alpha"] = lambda r, i: saved(alpha(r, i, "LA"), "PNG")
    m["png rgb"] = lambda r, i: saved(i, "PNG", compress_level=int(r.integers(10)))
    m["png rgba"] = lambda r, i: saved(alpha(r, i), "PNG")
    for channels, color, name in [(3, 2, "rgb"), (4, 6, "rgba"), (2, 4, "grey alpha")]:
        m[f"png {name} 16"] = lambda r, i, c=channels, k=color: png(*i.size, 16, k, packed(
            r.integers(0, 2**16, (i.height, i.width * c), np.uint16), 16))
    m["png gamma"] = lambda r, i: png(*i.size, 8, 2, [row.tobytes() for row in np.asarray(i)], (b"gAMA", struct.pack(">I", 45455)))
    m["png grey tRNS"] = lambda r, i: png(*i.size, 8, 0, packed(np.asarray(i.convert("L")), 8), (b"tRNS", b"\0\x80"))
    m["png rgb tRNS"] = lambda r, i: png(*i.size, 8, 2, [row.tobytes() for row in np.asarray(i)], (b"tRNS", b"\0\1\0\2\0\3"))
    m["png interlaced"] = interlaced
    for lossless in (False, True):
        m["webp lossless" if lossless else "webp"] = lambda r, i, l=lossless: saved(i, "WEBP", lossless=l, quality=quality(r))
    m["webp alpha"] = lambda r, i: saved(alpha(r, i), "WEBP", quality=quality(r))
    m["webp lossless alpha"] = lambda r, i: saved(alpha(r, i), "WEBP", lossless=True, exact=bool(r.integers(2)))
    for kind in ("JPEG", "PNG", "WEBP"):
        def cut(r, i, k=kind):
            data = saved(i, k)
            return data[:max(4, int(len(data) * r.uniform(0.2, 0.95)))]
        m[f"{kind.lower()} cut short"] = cut
    m["webp animated"] = lambda r, i: saved(i, "WEBP", save_all=True, append_images=[i.rotate(180)])
    return m


def interlaced(random, image):
    """Adam7 by hand, since no writer at hand does it."""
    pixels, rows = np.asarray(image), []
    for y, x, dy, dx in [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]:
        part = pixels[y::dy, x::dx]
        rows += [row.tobytes() for row in part] if part.size else []
    data = bytearray(png(*image.size, 8, 2, rows))
    data[28] = 1  # the header's interlace method
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def expected(path, resize, crop, interpolation, crops):
    """What torchvision's default loader and transforms give."""
    try:
        with open(path, "rb") as f:
            image = Image.open(f).convert("RGB")
    except (OSError, SyntaxError):
        return "refused"
    if resize:
        image = T.Resize(resize, MODES[interpolation])(image)
    if crops > 1 and min(image.size) < crop:
        return None  # FiveCrop and TenCrop refuse it
    views = {1: lambda i: [T.CenterCrop(crop)(i)], 5: T.FiveCrop(crop), 10: T.TenCrop(crop)}[crops](image)
    tensors = torch.stack([T.Normalize(MEAN, STD)(T.ToTensor()(v)) for v in views]).numpy()
    return tensors[0] if crops == 1 else tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet", required=True, type=pathlib.Path)
    parser.add_argument("--photos", type=pathlib.Path, help="folder with photographs, searched for *.jpg")
    parser.add_argument("--rounds", type=int, default=2, help="images of each kind and size (default 2)")
    args = parser.parse_args()
    print(f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}, torch {torch.__version__}")
    if int(PIL.__version__.split(".")[0]) < 13:
        sys.exit("Pillow 13 or newer is needed: older ones filter rows and columns in another order")
    if not shutil.which("cjpeg"):
        print("no cjpeg: JPEGs with unusual sampling and arithmetic coding are left out")
    ImageFile.MAXBLOCK = 1 << 20  # Pillow's JPEG writer cannot continue in a second block
    random = np.random.default_rng(1)
    photos = [Image.open(p).convert("RGB") for p in sorted(args.photos.rglob("*.jpg"))[:40]] if args.photos else []

    made, compared, (wrong, refused, both, ours_only) = 0, 0, (collections.Counter() for _ in range(4))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for kind, make in makers().items():
            paths = []
            for n, (width, height) in enumerate(SIZES * args.rounds):
                path = folder / f"{len(paths):03}.pic"
                path.write_bytes(make(random, contents(random, photos, width, height)))
                paths.append(path)
            made += len(paths)
            which = [made // len(SIZES) % len(SETTINGS), 0, (made // len(SIZES) + 3) % len(SETTINGS)]
            for resize, crop, interpolation, crops in {SETTINGS[w] for w in which}:
                out = folder / "ours.npy"
                done = subprocess.run([args.resnet, "data", "tensor", *paths, "-o", out, "--as-stored", "--resize", str(resize),
                                       "--size", str(crop), "--interpolation", interpolation, "--crops", str(crops)],
                                      capture_output=True, text=True)
                if done.returncode not in (0, 4):
                    sys.exit(f"resnet failed: {done.stderr}")
                for path, ours in zip(paths, np.load(out, mmap_mode="r")):
                    theirs = expected(path, resize, crop, interpolation, crops)
                    if theirs is None:
                        continue
                    if isinstance(theirs, str) or np.isnan(ours).any():
                        if not isinstance(theirs, str):
                            refused[kind] += 1
                        elif np.isnan(ours).any():
                            both[kind] += 1
                        else:
                            ours_only[kind] += 1
                    elif not np.array_equal(ours, theirs):
                        if not wrong[kind]:
                            differing = (ours != theirs).sum()
                            most = np.abs(ours - theirs).max() * 255 * 0.226
                            print(f"{kind}: {Image.open(path).size} {Image.open(path).mode} {resize, crop, interpolation, crops}: "
                                  f"{differing} of {ours.size} values differ, by about {most:.1f} of 255 at most")
                        wrong[kind] += 1
                    compared += 1
            if refused[kind]:
                print(f"{kind}: {done.stderr.splitlines()[0]}")
    print(f"{made} images of {len(makers())} kinds, {compared} tensors: {sum(wrong.values())} differ, "
          f"{sum(refused.values())} refused by resnet alone, {sum(both.values())} refused by both, "
          f"{sum(ours_only.values())} by Pillow alone")
    for kind in wrong | refused | both | ours_only:
        print(f"  {kind}: {wrong[kind]} differ, {refused[kind]} refused by resnet alone, {both[kind]} by both, "
              f"{ours_only[kind]} by Pillow alone")
    sys.exit(any(kind not in EXCEPTIONS for kind in wrong | refused))


main()
