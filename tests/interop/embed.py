"""Features of ResNet-18 against torchvision's, on images drawn here.
python tests/interop/embed.py --resnet build/release/src/resnet

The model comes from one epoch on a few galaxies; its file is what torchvision loads, and `resnet data
tensor` gives both the same input. Both compute in float and are compared with torchvision in double.

Tolerance, of the largest norm of a row: a convolution's rounding error, relative to its output, is about
sqrt(K) u with K = 4608 terms at most and u = 2^-24; 21 convolutions add up, the skips keep their gain near 1.
"""

import argparse
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import torchvision
from safetensors.torch import load_file

TOLERANCE = 21 * math.sqrt(4608) * 2**-24


def features(network, images, layer):
    """What a module of the network gives for all images."""
    kept = []
    handle = network.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
    with torch.no_grad():
        network(images)
    handle.remove()
    return kept[-1].double()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resnet", required=True)
    resnet = str(pathlib.Path(parser.parse_args().resnet).resolve())
    failures = 0
    with tempfile.TemporaryDirectory() as folder:

        def run(*words):
            subprocess.run([resnet, *words], check=True, cwd=folder, capture_output=True)

        run("train", "galaxies:train=32,val=8,size=64", "--arch", "resnet18", "--epochs", "1",
            "--batch-size", "8", "--out", "run")
        run("data", "galaxies", "--out", "images", "--count", "24", "--size", "80")
        run("data", "tensor", "images", "--model", "run", "--out", "input.npy")
        images = torch.from_numpy(numpy.load(f"{folder}/input.npy"))
        network = torchvision.models.resnet18(num_classes=8)
        network.load_state_dict(load_file(f"{folder}/run/model.safetensors"))
        network.eval()
        for layer, module, pool in (("", "avgpool", True), ("layer2", "layer2", True),
                                    ("layer2", "layer2", False),
                                    ("layer1.0.conv1", "layer1.0.conv1", False), ("fc", "fc", True)):
            words = ["--layer", layer] if layer else []
            run("embed", "run", "images", "-o", "f.npy", *words, *([] if pool else ["--no-pool"]))
            ours = torch.from_numpy(numpy.load(f"{folder}/f.npy")).double()
            single = features(network, images, module)
            exact = features(network.double(), images.double(), module)
            network.float()
            if pool and exact.dim() == 4:
                single, exact = single.mean((2, 3)), exact.mean((2, 3))
            same = ours.shape == exact.shape
            error, torchs = (((x.flatten(1) - exact.flatten(1)).norm(dim=1).max() /
                              exact.flatten(1).norm(dim=1).max()).item() if same else math.inf
                             for x in (ours, single))
            good = same and error <= TOLERANCE
            failures += not good
            print(f"{'ok' if good else 'FAILED'}  {layer or 'head':15} {list(ours.shape)!s:18} "
                  f"error {error:.2e} (torch's own {torchs:.2e}, tolerance {TOLERANCE:.2e})")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
