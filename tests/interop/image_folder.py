"""A checkpoint that PyTorch trained on folders called 0 … 11: evaluated here, it has PyTorch's accuracy.

    python tests/interop/image_folder.py --resnet build/release/src/resnet

torchvision's ImageFolder sorts class folders by their names' bytes (0, 1, 10, 11, 2, …), and a checkpoint holds no
names, so that the index is all that ties an output to a folder. The accuracy on held-out images and the prediction of
each are compared with PyTorch's, without names and with names in ImageFolder's order; so are those for a table of the
same images. Names in natural order must give another accuracy, or the comparison could not fail. Exits with 1 when
anything differs.
"""
import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional as F
from torchvision import transforms

CLASSES, SIDE = 12, 32
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def draw(folder, per_class, seed):
    """Noise around a colour for each class, some of which lie close together."""
    random = np.random.default_rng(seed)
    for label in range(CLASSES):
        colour = 128 + 80 * np.cos(2 * np.pi * (label / CLASSES + np.array([0, 1 / 3, 2 / 3])))
        (folder / str(label)).mkdir(parents=True)
        for i in range(per_class):
            shade = colour + random.normal(0, 25, 3)
            pixels = np.clip(shade + random.normal(0, 60, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / str(label) / f"{i}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet", default="build/release/src/resnet")
    args = parser.parse_args()
    failures = 0

    def report(good, what):
        nonlocal failures
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {what}", flush=True)

    def resnet(*words):
        return subprocess.run([args.resnet, *map(str, words)], check=True, capture_output=True, text=True).stdout

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        home = pathlib.Path(temporary)
        draw(home / "train", 50, 1)
        draw(home / "test", 30, 2)
        as_trained = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
        train = torchvision.datasets.ImageFolder(home / "train", as_trained)
        test = torchvision.datasets.ImageFolder(home / "test", as_trained)
        network = torchvision.models.resnet18(num_classes=CLASSES)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
        for _ in range(3):
            for x, y in torch.utils.data.DataLoader(train, 50, shuffle=True):
                loss = F.cross_entropy(network(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        network.eval()
        with torch.inference_mode():
            logits = torch.cat([network(x) for x, _ in torch.utils.data.DataLoader(test, 60)])
        expected = {path: int(k) for (path, _), k in zip(test.samples, logits.argmax(1))}
        top1 = sum(expected[path] == label for path, label in test.samples) / len(test)
        print(f"PyTorch {torch.__version__}: {len(test)} images, top-1 {top1:.4f}, classes {test.classes}")
        torch.save(network.state_dict(), home / "weights.pth")

        (home / "sorted.txt").write_text("\n".join(test.classes) + "\n")
        (home / "natural.txt").write_text("\n".join(map(str, range(CLASSES))) + "\n")
        with open(home / "test.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", "label"])
            for path, label in test.samples:
                table.writerow([path, test.classes[label]])
        for names in (None, "sorted", "natural"):
            model = home / f"{names}.safetensors"
            resnet("import", home / "weights.pth", "-o", model, "--image-size", SIDE, "--resize", 0,
                   "--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)),
                   *(("--classes", home / f"{names}.txt") if names else ()))
            for data in ("test", "test.csv"):
                predictions = home / "predictions.csv"
                found = json.loads(resnet("eval", model, home / data, "--json", "--predictions", predictions))["top1"]
                what = f"{data}, {f'{names} names' if names else 'no names'}: top-1 {found:.4f}"
                if names == "natural":
                    report(found != top1, what + ", PyTorch's outputs under wrong names")
                elif names is None and data == "test.csv":
                    # The numbers of a table are taken for those of the outputs by a model without names.
                    by_number = sum(expected[p] == int(test.classes[y]) for p, y in test.samples) / len(test)
                    report(abs(found - by_number) < 1e-9, what + f", by number {by_number:.4f}")
                elif names is None:
                    report(abs(found - top1) < 1e-9, what)
                else:
                    with open(predictions, newline="") as file:
                        same = sum(row["prediction"] == test.classes[expected[str(home / "test" / row["name"])]]
                                   for row in csv.DictReader(file))
                    report(same == len(test), what + f", {same} of {len(test)} predictions are PyTorch's")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
