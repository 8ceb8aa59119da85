#!/usr/bin/env python3
"""Images a second, decoded and preprocessed on one core: ours, Pillow's, torchvision's C++ ops'.

    python bench/images.py --bench build/bench/bench/images_bench --photos FOLDER

One process a side on the same core, in turn; medians of the rounds, in processor time, so that other processes disturb
little. Files are in memory. Resize(256, bilinear, antialiased), CenterCrop(224) unless it says otherwise; "all to tensor"
is ToTensor and Normalize, too.
"""
import argparse
import io
import os
import pathlib
import statistics
import subprocess
import sys
import time

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def stages(side, files):
    """Stage -> function(i)."""
    import torch
    import torchvision.transforms as T
    import torchvision.transforms.v2.functional as F
    from torchvision.transforms import InterpolationMode
    torch.set_num_threads(1)
    if side == "pillow":
        from PIL import Image
        def decode(i):
            return Image.open(io.BytesIO(files[i])).convert("RGB")
        def fit(image, mode=InterpolationMode.BILINEAR):
            return T.CenterCrop(224)(T.Resize(256, mode)(image))
        finish = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])
    else:
        from torchvision.io import ImageReadMode, decode_jpeg
        tensors = [torch.frombuffer(bytearray(f), dtype=torch.uint8) for f in files]
        def decode(i):
            return decode_jpeg(tensors[i], mode=ImageReadMode.RGB)
        def fit(image, mode=InterpolationMode.BILINEAR):
            return F.center_crop(F.resize(image, [256], mode, antialias=True), [224])
        def finish(image):
            return F.normalize(F.to_dtype(image, torch.float32, scale=True), MEAN, STD)
    decoded = [decode(i) for i in range(len(files))]
    return {
        "decode": decode,
        "resize+crop": lambda i: fit(decoded[i]),
        "decode+resize+crop": lambda i: fit(decode(i)),
        "decode+resize+crop bicubic": lambda i: fit(decode(i), InterpolationMode.BICUBIC),
        "all to tensor": lambda i: finish(fit(decode(i))),
    }


def measure(side, paths, seconds):
    files = [pathlib.Path(p).read_bytes() for p in paths]
    for stage, work in stages(side, files).items():
        work(0)
        done, start = 0, time.process_time()
        while time.process_time() - start < seconds:
            work(done % len(files))
            done += 1
        print(f"{stage} {done / (time.process_time() - start):.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--photos", required=True, type=pathlib.Path, help="folder, searched for *.jpg")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="of each stage in a round")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    paths = sorted(str(p) for p in args.photos.rglob("*.jpg"))[:60]
    if args.side:
        return measure(args.side, paths, args.seconds)
    core = {min(os.sched_getaffinity(0))}
    os.sched_setaffinity(0, core)  # inherited by all sides
    own = [sys.executable, __file__, "--bench", args.bench, "--photos", str(args.photos), "--seconds", str(args.seconds)]
    sides = {"ours": [args.bench, str(args.seconds), *paths],
             "pillow": own + ["--side", "pillow"], "torchvision": own + ["--side", "torchvision"]}
    speeds = {}
    for _ in range(args.rounds):
        for side, command in sides.items():
            for line in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
                stage, speed = line.rsplit(" ", 1)
                speeds.setdefault(stage, {}).setdefault(side, []).append(float(speed))
    import PIL
    import torchvision
    print(f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}; {len(paths)} photographs, images/s of processor time")
    print("| stage | ours | Pillow | ratio | torchvision's C++ | ratio |\n|---|---|---|---|---|---|")
    for stage, of in speeds.items():
        ours, pillow, vision = (statistics.median(of[side]) for side in sides)
        print(f"| {stage} | {ours:.0f} | {pillow:.0f} | {ours / pillow:.2f} | {vision:.0f} | {ours / vision:.2f} |")


main()
