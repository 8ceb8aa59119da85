#!/usr/bin/env python3
"""Writes images.inc: tiny images of every kind, with the pixels that Pillow decodes from them.

Run by hand (needs Pillow, NumPy and cjpeg) when a kind is added; the tests only read its output:
    python3 make_images.py > images.inc
"""
import io
import struct
import subprocess
import zlib

import numpy as np
from PIL import Image, ImageOps

WIDTH, HEIGHT = 11, 7  # odd, so that chroma and blocks are cut
rng = np.random.default_rng(7)


def smooth(channels):
    small = rng.integers(0, 256, (3, 4, channels), dtype=np.uint8)
    planes = [Image.fromarray(small[..., i]).resize((WIDTH, HEIGHT), Image.BICUBIC)
              for i in range(channels)]
    return np.stack([np.array(p) for p in planes], -1)


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth, color, data, extra=b"", interlaced=0):
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, color, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra +
            chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def noise_rows(bits_per_pixel):
    return b"".join(b"\0" + rng.bytes((WIDTH * bits_per_pixel + 7) // 8) for _ in range(HEIGHT))


def adam7(pixels):
    out = b""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2))
    for x, y, dx, dy in passes:
        for row in pixels[y::dy, x::dx]:
            if row.size:
                out += b"\0" + row.tobytes()
    return out


def exif(orientation, order="<"):
    mark = b"II" if order == "<" else b"MM"
    return (mark + struct.pack(order + "HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0))


def images():
    pixels = smooth(4)
    rgb = Image.fromarray(pixels[..., :3].copy())
    rgba = Image.fromarray(pixels)
    grey = Image.fromarray(pixels[..., 0].copy())
    cmyk = Image.frombytes("CMYK", (WIDTH, HEIGHT), pixels.tobytes())
    jpeg = dict(quality=85, optimize=True)
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        yield f"baseline_{name}.jpg", encode(rgb, "JPEG", subsampling=subsampling, **jpeg)
    yield "progressive.jpg", encode(rgb, "JPEG", progressive=True, **jpeg)
    yield "rgb_not_ycc.jpg", encode(rgb, "JPEG", keep_rgb=True, **jpeg)
    yield "restarts.jpg", encode(rgb, "JPEG", restart_marker_blocks=1, **jpeg)
    yield "grey.jpg", encode(grey, "JPEG", **jpeg)
    yield "grey_progressive.jpg", encode(grey, "JPEG", progressive=True, **jpeg)
    yield "cmyk.jpg", encode(cmyk, "JPEG", **jpeg)
    # The same coefficients marked as YCCK: the transform flag of the Adobe segment.
    data = bytearray(encode(cmyk, "JPEG", **jpeg))
    data[data.index(b"Adobe") + 11] = 2
    yield "ycck.jpg", bytes(data)
    for orientation in range(1, 9):
        block = b"Exif\0\0" + exif(orientation, "<" if orientation % 2 else ">")
        yield f"exif_{orientation}.jpg", encode(rgb, "JPEG", exif=block, **jpeg)
    yield "exif_6.png", encode(rgb, "PNG", exif=exif(6))
    yield "exif_6.webp", encode(rgb, "WEBP", exif=exif(6), lossless=True)
    for color, channels, name in ((0, 1, "grey"), (2, 3, "rgb"), (4, 2, "grey_alpha"), (6, 4, "rgba")):
        for depth in (1, 2, 4, 8, 16):
            if depth >= 8 or color == 0:
                yield f"{name}_{depth}.png", png(depth, color, noise_rows(depth * channels))
    low = rng.integers(0, 300, (HEIGHT, WIDTH)).astype(">u2")  # on both sides of the clip
    yield "grey_16_low.png", png(16, 0, b"".join(b"\0" + row.tobytes() for row in low))
    for depth in (1, 2, 4, 8):
        palette = chunk(b"PLTE", rng.bytes(3 * 2**depth))
        yield f"palette_{depth}.png", png(depth, 3, noise_rows(depth), palette)
    transparency = chunk(b"PLTE", rng.bytes(48)) + chunk(b"tRNS", bytes([0, 128, 255]))
    yield "palette_transparent.png", png(4, 3, noise_rows(4), transparency)
    yield "rgb_transparent.png", encode(rgb, "PNG", transparency=(1, 2, 3))
    yield "interlaced.png", png(8, 2, adam7(pixels[..., :3]), interlaced=1)
    yield "lossy.webp", encode(rgb, "WEBP", quality=70)
    yield "lossy_alpha.webp", encode(rgba, "WEBP", quality=70)
    yield "lossless.webp", encode(rgb, "WEBP", lossless=True)
    yield "lossless_alpha.webp", encode(rgba, "WEBP", lossless=True)
    frames = [Image.fromarray(smooth(4)) for _ in range(2)]
    yield "animated.webp", encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    yield "arithmetic.jpg", cjpeg(rgb, "-arithmetic")
    yield "sampled_1x2.jpg", cjpeg(rgb, "-sample", "1x2")
    yield "sampled_4x1.jpg", cjpeg(rgb, "-sample", "4x1", "-progressive")


def cjpeg(image, *flags):
    return subprocess.run(["cjpeg", *flags], input=encode(image, "PPM"), capture_output=True, check=True).stdout


def literal(data):
    text = data.hex()
    lines = [text[i:i + 90] for i in range(0, len(text), 90)]
    return "\n     ".join(f'"{line}"' for line in lines)


def main():
    print("// Made by make_images.py; do not edit.")
    print("// {name, width, height, file, RGB pixels, grey pixels}, bytes in hexadecimal.")
    for name, data in images():
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        rgb = image.convert("RGB")
        grey = image.convert("L")
        print(f'{{"{name}", {image.width}, {image.height},\n     {literal(data)},\n     '
              f'{literal(rgb.tobytes())},\n     {literal(grey.tobytes())}}},')


if __name__ == "__main__":
    main()
