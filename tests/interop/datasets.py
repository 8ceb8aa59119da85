"""Data sets written by NumPy, h5py, astropy, webdataset and the csv module, read by `resnet`.

    python tests/interop/datasets.py --resnet build/release/src/resnet

Compares what `resnet data stats|check` says of each with the same computed by NumPy, pixels of FITS
with astropy's stretch, and trains and evaluates once on each. Exits non-zero on failure.
"""
import argparse
import csv
import json
import pathlib
import subprocess
import tempfile

import h5py
import numpy as np
import webdataset
from astropy.io import fits
from astropy.visualization import AsinhStretch, PercentileInterval
from PIL import Image

SIDE = 32
RNG = np.random.default_rng(7)
failures = []


def report(name, good, what):
    print(f"{'ok  ' if good else 'FAIL'} {name}: {what}")
    if not good:
        failures.append(name)


def resnet(*arguments, code=0):
    run = subprocess.run([ARGS.resnet, *map(str, arguments)], capture_output=True, text=True)
    if run.returncode != code:
        raise SystemExit(f"resnet {' '.join(map(str, arguments))}: exit {run.returncode}\n{run.stderr}")
    return run.stdout if code == 0 else run.stderr


def images(count, channels=3):
    """Noise in which the brightest channel (or the level, in grey) tells the class."""
    labels = np.arange(count) % 3
    x = RNG.integers(0, 90, (count, SIDE, SIDE, 3))
    for i, label in enumerate(labels):
        x[i, :, :, label] += 120
    if channels == 1:
        x = x[..., :1] // 2 + labels[:, None, None, None] * 60
        x = x[..., 0]
    return x.astype(np.uint8), labels


def check(name, source, train, train_labels, val_count, classes):
    """The statistics of the training part, the counts of both."""
    stats = json.loads(resnet("data", "stats", source, "--json"))
    x = train.astype(np.float64) / 255
    axes = (0, 1, 2)
    mean, std = np.atleast_1d(x.mean(axes)), np.atleast_1d(x.std(axes))
    worst = max(np.abs(mean - stats["mean"]).max(), np.abs(std - stats["std"]).max())
    # 8-bit sums are exact in both; what differs is the rounding of a few operations in double.
    good = worst < 1e-12 and stats["train"] == len(train) and stats["val"] == val_count
    good = good and stats["classes"] == classes and stats["unreadable"] == 0
    parts = json.loads(resnet("data", "check", source, "--json"))
    counts = [int((train_labels == c).sum()) for c in range(len(classes))]
    found = parts["train"]["classes"]
    found = list(found.values()) if isinstance(found, dict) else list(found)
    good = good and found == counts
    report(name, good, f"{len(train)} images, mean and deviation differ by at most {worst:.1e}")


def train_once(name, source):
    run = WORK / "runs" / name
    resnet("train", source, "--arch", "resnet8", "--epochs", 1, "--batch-size", 10, "--image-size", SIDE,
           "--out", run, "--json")
    result = json.loads(resnet("eval", run, source, "--json"))
    report(name + " train", result["images"] > 0, f"one epoch, then {result['images']} images evaluated")


def npz():
    for writer in (np.savez, np.savez_compressed):
        for channels in (3, 1):
            arrays = {}
            for part, count in (("train", 60), ("val", 15), ("test", 9)):
                x, y = images(count, channels)
                arrays[f"{part}_images"], arrays[f"{part}_labels"] = x, y[:, None].astype(">i2")
            arrays["train_images"] = np.asfortranarray(arrays["train_images"])
            path = WORK / f"{writer.__name__}{channels}.npz"
            writer(path, **arrays)
            check(path.name, path, arrays["train_images"], arrays["train_labels"][:, 0], 15,
                  ["0", "1", "2"])
    train_once("npz", path)


def table():
    folder = WORK / "table"
    folder.mkdir()
    x, y = images(60)
    names = ["blue, dark", "green", 'the "red"']
    with open(folder / "labels.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "filename", "split"])
        for i in range(60):
            Image.fromarray(x[i]).save(folder / f"{i}, a.png")
            writer.writerow([i, names[y[i]], f"{i}, a.png", "train" if i < 45 else "val"])
    check("csv", folder / "labels.csv", x[:45], y[:45], 15, names)
    train_once("csv", folder / "labels.csv")


def shards():
    folder = WORK / "shards"
    folder.mkdir()
    x, y = images(90)
    for part, begin, end in (("train", 0, 75), ("val", 75, 90)):
        pattern = str(folder / f"x-{part}-%04d.tar")
        with webdataset.ShardWriter(pattern, maxcount=20, verbose=0) as writer:
            for i in range(begin, end):
                writer.write({"__key__": f"{i:06d}", "png": x[i], "cls": int(y[i]),
                              "json": {"index": i}})
    check("webdataset", folder, x[:75], y[:75], 15, ["0", "1", "2"])
    check("webdataset braces", folder / "x-{train,val}-{0000..0000}.tar", x[:20], y[:20], 15,
          ["0", "1", "2"])
    train_once("webdataset", folder)


def hdf5():
    # A share is held out here; images of a class are alike, so that it does not matter which.
    one, _ = images(3)
    y = np.arange(90) % 3
    x = one[y]
    kinds = {"contiguous": {}, "gzip": {"compression": "gzip"}, "shuffled": {"compression": "gzip", "shuffle": True},
             "rows": {"compression": "gzip", "chunks": (1, SIDE, SIDE, 3)}, "fletcher": {"fletcher32": True}}
    for name, options in kinds.items():
        path = WORK / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=x, **options)
            file.create_dataset("ans", data=y.astype(np.uint8))
            chunks = file["images"].chunks
        check(f"hdf5 {name} {chunks}", path, x[:72], y[:72], 18, ["0", "1", "2"])
    with h5py.File(WORK / "lzf.h5", "w") as file:
        file.create_dataset("images", data=x, compression="lzf")
        file["ans"] = y
    error = resnet("data", "stats", WORK / "lzf.h5", code=7)
    report("hdf5 lzf", "filter 32000" in error, error.strip())
    with h5py.File(WORK / "link.h5", "w") as file:
        file["images"] = h5py.ExternalLink("gzip.h5", "/images")
        file["ans"] = y
    error = resnet("data", "stats", WORK / "link.h5", code=4)
    report("hdf5 external link", "no data set of images" in error, error.strip())
    train_once("hdf5", WORK / "gzip.h5")


def fits_files():
    """Pixels, as astropy stretches them; np.flipud since FITS counts rows from the bottom."""
    yy, xx = np.mgrid[:SIDE, :SIDE]
    folder = WORK / "fits"
    worst, count, different = 0, 0, 0
    files, expected = [], []
    for i in range(60):
        kind = i % 6
        sky = 1000 * np.exp(-np.hypot(yy - 15, xx - 17) / (2 + i % 3 * 3)) + RNG.normal(20, 5, (SIDE, SIDE))
        if kind == 0:
            data = sky.astype(np.float32)
        elif kind == 1:
            data = sky
        elif kind == 2:
            data = sky.astype(np.int16)
        elif kind == 3:
            data = sky.astype(np.uint16)  # BZERO 32768
        elif kind == 4:
            data = (sky * 1e5).astype(np.int32)
        else:
            data = sky.astype(np.float32)
            data[3, 4] = np.nan
        name = folder / "abc"[i % 3] / f"{i}.fits{'.gz' if i % 4 == 1 else ''}"
        name.parent.mkdir(parents=True, exist_ok=True)
        if i % 4 == 2:
            fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(data)]).writeto(name)
        else:
            fits.PrimaryHDU(data).writeto(name)
        values = data.astype(np.float64)
        low, high = PercentileInterval(99.5).get_limits(values[np.isfinite(values)])
        y = np.clip((values - low) / (high - low), 0, 1)
        v = AsinhStretch(0.1)(y)
        v[~np.isfinite(v)] = 0
        files.append(name)
        expected.append(np.flipud(np.floor(v * 255 + 0.5)))
    resnet("data", "tensor", *files, "--size", SIDE, "--resize", 0, "--mean", "0,0,0", "--std", "1,1,1",
           "--out", WORK / "fits.npy")
    found = np.rint(np.load(WORK / "fits.npy").astype(np.float64) * 255)
    for i, want in enumerate(expected):
        for channel in range(3):
            error = np.abs(found[i, channel] - want)
            worst, count, different = max(worst, error.max()), count + error.size, different + (error > 0).sum()
    report("fits", worst == 0, f"{len(files)} files, {different} of {count} pixels differ, by at most {worst:.0f}")

    # Colour: Lupton et al. 2004.
    planes = np.stack([sky, 0.7 * sky, 0.4 * sky + 1])
    fits.PrimaryHDU(planes).writeto(WORK / "rgb.fits")
    mean = planes.mean(0)
    low, high = np.percentile(mean, [0.25, 99.75])
    level = (mean - low) / (high - low)
    v = np.arcsinh(10 * np.clip(level, 0, 1)) / np.arcsinh(10)
    with np.errstate(divide="ignore", invalid="ignore"):
        rgb = np.where(level > 0, (planes - low) / (high - low) * v / level, 0)
    rgb = np.clip(rgb / np.maximum(rgb.max(0), 1), 0, 1)
    resnet("data", "tensor", WORK / "rgb.fits", "--size", SIDE, "--resize", 0, "--mean", "0,0,0", "--std", "1,1,1",
           "--out", WORK / "rgb.npy")
    found = np.rint(np.load(WORK / "rgb.npy")[0].astype(np.float64) * 255)
    error = np.abs(found - np.floor(rgb * 255 + 0.5)[:, ::-1])
    report("fits in colour", error.max() == 0, f"{(error > 0).sum()} of {error.size} values differ")
    train_once("fits", folder)


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--resnet", required=True, help="the binary")
ARGS = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    WORK = pathlib.Path(folder)
    for part in (npz, table, shards, hdf5, fits_files):
        part()
raise SystemExit(f"{len(failures)} failed: {', '.join(failures)}" if failures else 0)
