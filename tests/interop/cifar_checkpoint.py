"""A CIFAR-10 checkpoint that PyTorch trained: here it gives PyTorch's prediction for every test image.

    python tests/interop/cifar_checkpoint.py cifar-10-binary.tar.gz --resnet build/release/src/resnet

A ResNet-20 with option-A shortcuts is trained for an epoch and saved as such checkpoints are found: names with
`module.` before them, `linear` as the head, no num_batches_tracked, numbers beside the tensors, in PyTorch's zip and
legacy formats and as safetensors. Each file is imported and evaluated; the predictions are compared one by one. Two
predictions may differ only where PyTorch's own two best logits are closer than rounding (the tolerance of
tests/golden/README.md); such images are counted. Exits with 1 when anything else differs.
"""
import argparse
import csv
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from onnx_files import Cifar

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def read(archive, wanted):
    """Images [n, 3, 32, 32] of 0 ... 1 and labels of the files whose names contain `wanted`."""
    parts = []
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            if member.name.endswith(".bin") and wanted in member.name:
                parts.append(np.frombuffer(tar.extractfile(member).read(), np.uint8).reshape(-1, 3073))
    records = np.concatenate(parts)
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()).float().div(255)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return images.sub_(mean).div_(std), torch.from_numpy(records[:, 0].astype(np.int64))


def train(network, x, y, batches):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    for batch in order[: batches * 128].split(128):
        images = F.pad(x[batch], (4, 4, 4, 4))
        top, left = torch.randint(0, 9, (2,)).tolist()
        images = images[:, :, top : top + 32, left : left + 32]
        loss = F.cross_entropy(network(images), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar-10-binary.tar.gz")
    parser.add_argument("--resnet", default="build/release/src/resnet")
    parser.add_argument("--batches", type=int, default=390, help="of 128 images; an epoch has 390")
    args = parser.parse_args()
    torch.manual_seed(0)
    network = Cifar(3, "A")
    x, y = read(args.data, "data_batch")
    print(f"trained: loss {train(network, x, y, args.batches):.3f}", flush=True)
    network.eval()
    x, y = read(args.data, "test_batch")
    with torch.inference_mode():
        logits = torch.cat([network(part) for part in x.split(500)])
        exact = torch.cat([network.double()(part.double()) for part in x.split(500)])
        network.float()
    error = max((logits - exact).abs().max().item(), 4 * 2**-24 * exact.abs().max().item())
    best = exact.topk(2).values
    margin = best[:, 0] - best[:, 1]
    theirs = logits.argmax(1)
    print(f"PyTorch: top-1 {(theirs == y).float().mean().item():.4f}, its f32 error {error:.1e}, smallest margin "
          f"between two best logits {margin.min().item():.1e}")

    state = {"module." + k.replace("fc.", "linear."): v for k, v in network.state_dict().items()
             if not k.endswith("num_batches_tracked")}
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        checkpoint = {"state_dict": state, "epoch": 1, "best_prec1": 50.0}
        torch.save(checkpoint, folder / "zip.th")
        torch.save(checkpoint, folder / "legacy.th", _use_new_zipfile_serialization=False)
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "plain.safetensors")
        (folder / "names.txt").write_text("\n".join(CLASSES) + "\n")
        for name in ("zip.th", "legacy.th", "plain.safetensors"):
            model = folder / (name + ".model.safetensors")
            subprocess.run([args.resnet, "import", folder / name, "--classes", folder / "names.txt", "--mean",
                            ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)), "-o", model],
                           check=True, stdout=subprocess.DEVNULL)
            predictions = folder / "predictions.csv"
            subprocess.run([args.resnet, "eval", model, args.data, "--predictions", predictions], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(predictions, newline="") as file:
                rows = list(csv.DictReader(file))
            ours = torch.tensor([CLASSES.index(row["prediction"]) for row in rows])
            labels = torch.tensor([CLASSES.index(row["label"]) for row in rows])
            if len(rows) != len(y) or not torch.equal(labels, y):
                print(f"{name}: other images or labels")
                failures += 1
                continue
            differ = (ours != theirs).nonzero().flatten()
            ties = sum(margin[i].item() <= 2 * 10 * error for i in differ)
            print(f"{name}: {len(rows) - len(differ)} of {len(rows)} predictions equal"
                  + (f", {ties} of the others within rounding" if len(differ) else ""))
            failures += ties != len(differ)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
