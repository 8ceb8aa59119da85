"""ONNX out and in, against ONNX's checker, ONNX Runtime and PyTorch's two exporters.

    python tests/interop/onnx_files.py --resnet build/release/src/resnet

Out: networks made by PyTorch are imported, exported to ONNX, checked (types and shapes inferred, too), and run by ONNX
Runtime at batch 1 and 3.
In: PyTorch exports the same networks, `resnet import` reads them.
Weights and batch-norm statistics are random. Everywhere the logits of three images are compared with PyTorch's in
double precision; ours and ONNX Runtime's also with each other.

Tolerance, as in tests/golden/README.md: PyTorch's own f32 error measures how this network rounds; allowed is
10 * max(that error, 4 eps * largest logit). Of two f32 results both may err, so twice that is allowed between them.
Exits with 1 when anything fails.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two 3x3 convolutions; kind A, B or none of shortcut; v2 has batch norm and ReLU first."""

    def __init__(self, inputs, outputs, stride, kind, v2):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs if v2 else outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.kind, self.v2, self.stride, self.extra = kind, v2, stride, outputs - inputs
        if kind == "B" and (stride != 1 or inputs != outputs):
            projection = [nn.Conv2d(inputs, outputs, 1, stride, bias=False)]
            self.downsample = nn.Sequential(*projection, *([] if v2 else [nn.BatchNorm2d(outputs)]))

    def shortcut(self, x, activated):
        if hasattr(self, "downsample"):
            return self.downsample(activated)
        if self.kind == "A" and (self.stride != 1 or self.extra):
            x = x[:, :, :: self.stride, :: self.stride]
            return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return x

    def forward(self, x):
        if self.v2:
            a = F.relu(self.bn1(x))
            return self.conv2(F.relu(self.bn2(self.conv1(a)))) + self.shortcut(x, a)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y if self.kind == "none" else y + self.shortcut(x, x))


class Cifar(nn.Module):
    def __init__(self, n, kind, v2=False, classes=10):
        super().__init__()
        self.v2, inputs = v2, 16
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        if not v2:
            self.bn1 = nn.BatchNorm2d(16)
        for stage, (filters, stride) in enumerate(((16, 1), (32, 2), (64, 2)), 1):
            blocks = []
            for i in range(n):
                blocks.append(Block(inputs, filters, stride if i == 0 else 1, kind, v2))
                inputs = filters
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        if v2:
            self.bn = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = self.conv1(x)
        x = x if self.v2 else F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.relu(self.bn(x)) if self.v2 else x
        x = F.avg_pool2d(x, x.size()[3])  # as CIFAR code does, instead of a global pool
        return self.fc(x.view(x.size(0), -1))


NETWORKS = {  # name: (options of import, side of the images, network)
    "resnet18": (["--arch", "resnet18"], 64, lambda: torchvision.models.resnet18(num_classes=10)),
    "resnet34": (["--arch", "resnet34"], 64, lambda: torchvision.models.resnet34(num_classes=10)),
    "resnet50": (["--arch", "resnet50"], 64, lambda: torchvision.models.resnet50(num_classes=10)),
    "resnet18d": (["--arch", "resnet18d"], 64, lambda: timm.create_model("resnet18d", num_classes=10)),
    "resnet20-A": (["--arch", "resnet20", "--shortcut", "A"], 32, lambda: Cifar(3, "A")),
    "resnet20-B": (["--arch", "resnet20", "--shortcut", "B"], 32, lambda: Cifar(3, "B")),
    "resnet20v2": (["--arch", "resnet20v2"], 32, lambda: Cifar(3, "B", v2=True)),
    "plain20": (["--arch", "plain20"], 32, lambda: Cifar(3, "none")),
}


def randomise(network, side):
    """Random weights, and statistics that belong to them, so that no activation explodes."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        for m in norms:
            m.weight.uniform_(0.4, 0.9)
            m.bias.normal_(0, 0.2)
            m.momentum = 1.0
        network.train()(torch.randn(16, 3, side, side))
        for m in norms:
            m.running_mean += 0.1 * torch.randn_like(m.running_mean)
            m.running_var *= torch.empty_like(m.running_var).uniform_(0.8, 1.2)
    return network.eval()


class Check:
    def __init__(self, resnet, folder):
        self.resnet, self.folder, self.failures = resnet, folder, 0

    def run(self, *arguments):
        done = subprocess.run([self.resnet, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"resnet {' '.join(map(str, arguments))}: {done.stderr.strip()}")
        return done.stdout

    def logits(self, model, images):
        out = self.folder / "logits.npy"
        self.run("embed", model, *images, "--layer", "fc", "-o", out)
        return np.load(out).astype(np.float64)

    def report(self, what, found, exact, allowed):
        error = float(np.abs(found - exact).max())
        good = error <= allowed and np.array_equal(found.argmax(1), exact.argmax(1))
        self.failures += not good
        print(f"  {'ok  ' if good else 'FAIL'} {what}: largest difference {error:.2e} of {allowed:.2e} allowed")


def export_from_torch(network, images, path, dynamo):
    if dynamo:
        torch.onnx.export(network, (images,), path, dynamo=True, verbose=False,
                          dynamic_shapes=({0: torch.export.Dim("batch")},))
    else:
        torch.onnx.export(network, (images,), path, dynamo=False, input_names=["input"], output_names=["output"],
                          dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})


def reference(network, folder, side):
    """Three images in the folder, what the network sees of them, its logits in double, and how far others may be."""
    images, rows = [], []
    generator = np.random.default_rng(2)
    for i in range(3):
        pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        images.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(images[-1])
        rows.append(torchvision.transforms.functional.to_tensor(pixels))
    images = torchvision.transforms.functional.normalize(torch.stack(rows), MEAN, STD)
    with torch.no_grad():
        f32 = network(images).double().numpy()
        exact = network.double()(images.double()).numpy()
    network.float()
    error = np.abs(f32 - exact).max()
    return images, images, exact, 10 * max(error, 4 * np.finfo(np.float32).eps * np.abs(exact).max())


def check_network(check, name):
    options_of_import, side, make = NETWORKS[name]
    print(name)
    torch.manual_seed(1)
    network = randomise(make(), side)
    folder = check.folder / name
    folder.mkdir()
    images, images, exact, allowed = reference(network, folder, side)

    numbers = ["--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)), "--resize", 0]
    weights = {k: v.contiguous() for k, v in network.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    model = folder / "model.safetensors"
    check.run("import", folder / "weights.safetensors", *options_of_import, "--image-size", side, *numbers, "-o", model)
    ours = check.logits(model, images)
    check.report("ours", ours, exact, allowed)

    for options in ([], ["--fold-batch-norm"], ["--any-size"]):
        path = folder / "ours.onnx"
        check.run("export", model, "--to", "onnx", *options, "-o", path)
        onnx.checker.check_model(str(path), full_check=True)
        onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True, data_prop=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for batch in (1, 3):
            logits, probabilities = session.run(["logits", "probabilities"], {"image": images[:batch].numpy()})
            what = " ".join(["ONNX Runtime", *options, f"batch {batch}"])
            check.report(what, logits.astype(np.float64), exact[:batch], allowed)
            check.report(f"{what}, from ours", logits.astype(np.float64), ours[:batch], 2 * allowed)
            check.failures += not np.allclose(probabilities.sum(1), 1, atol=1e-5)
        back = folder / "back.safetensors"
        check.run("import", path, "-o", back)
        check.report(" ".join(["imported again", *options]), check.logits(back, images), exact, allowed)

    for dynamo in (False, True):
        path = folder / f"torch{'_dynamo' if dynamo else ''}.onnx"
        export_from_torch(network, images, path, dynamo)
        theirs = folder / f"from_torch{dynamo}.safetensors"
        check.run("import", path, *numbers, "-o", theirs)
        what = f"from torch.onnx, {'dynamo' if dynamo else 'TorchScript'}"
        check.report(what, check.logits(theirs, images), exact, allowed)


def check_all(description, networks, check_network, versions):
    """The main function of a script that checks networks by name."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet", required=True, help="the binary")
    parser.add_argument("names", nargs="*", metavar="NETWORK", help=f"of {', '.join(networks)}; all if none")
    options = parser.parse_args()
    print(versions)
    with tempfile.TemporaryDirectory() as folder:
        check = Check(options.resnet, pathlib.Path(folder))
        for name in options.names or networks:
            check_network(check, name)
    print("all good" if check.failures == 0 else f"{check.failures} checks failed")
    sys.exit(check.failures != 0)


def main():
    warnings.filterwarnings("ignore")
    check_all(__doc__, NETWORKS, check_network,
              f"torch {torch.__version__}, onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
