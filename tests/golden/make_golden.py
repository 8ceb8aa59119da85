#!/usr/bin/env python3
"""Writes the golden files of whole networks: what PyTorch computes in double precision.

    python tests/golden/make_golden.py            # all networks, into this folder
    python tests/golden/make_golden.py resnet20   # some

Needs torch, torchvision, timm and numpy. Running the tests never needs it: they read the JSON files. Weights
and images are not stored; both sides compute them (see README.md, golden.h).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))
from torch_networks import build  # noqa: E402

CLASSES = 10
SAMPLES = 8
STEPS = 10
MOMENTUM = 0.9
WEIGHT_DECAY = 0.01  # a hundred times the usual one, so that ten steps show it
# network: (batch, side of the image, learning rate)
NETWORKS = {
    "resnet20": (4, 32, 0.001),
    "resnet20v2": (4, 32, 0.01),
    "resnet18": (8, 64, 0.001),
    "resnet18d": (4, 72, 0.001),  # sides of 9 and 5: pools that round up
    "resnet50": (8, 64, 0.0002),
    "resnet50v2": (8, 64, 0.002),
}


# --- The formula. golden.h has the same in C++; every operation is exact or rounds once. ---


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def bits(name, count):
    """splitmix64(fnv1a64(name) + i) for i in [0, count)."""
    with np.errstate(over="ignore"):
        z = np.arange(count, dtype=np.uint64) + np.uint64(fnv1a64(name))
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def unit(name, count):
    """In [-1, 1), multiples of 2^-23."""
    return (bits(name, count) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0


def fill(name, shape):
    count = int(np.prod(shape))
    u = unit(name, count)
    if name.endswith(".weight") and len(shape) >= 2:  # He uniform
        v = np.sqrt(6.0 / float(np.prod(shape[1:]))) * u
    elif name.endswith(".weight"):  # gamma
        v = 0.375 + u / 32
    elif name.endswith(".running_var"):
        v = 1 + u / 2
    elif name.endswith(".running_mean") or name == "fc.bias":
        v = u / 8
    elif name.endswith(".bias"):  # beta
        v = np.where(np.arange(count) % 4 == 3, -1.0, 1.0) + u / 8
    else:  # images
        v = u
    return v.astype(np.float32).reshape(shape)


def labels(count):
    return ((bits("label", count) >> np.uint64(40)) % np.uint64(CLASSES)).astype(np.int64)


# --- PyTorch. ---


class ReluMargin:
    """The smallest |x| that any ReLU has seen: how far the network is from a kink."""

    def __enter__(self):
        self.smallest, self.relu = float("inf"), F.relu

        def relu(x, inplace=False):
            self.smallest = min(self.smallest, float(x.detach().abs().min()))
            return self.relu(x, inplace)

        F.relu = relu
        return self

    def __exit__(self, *_):
        F.relu = self.relu


def network(arch, dtype, layout):
    model = build(arch, CLASSES)
    state = model.state_dict()
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            state[name] = torch.from_numpy(fill(name, tuple(tensor.shape)))
    model.load_state_dict(state)
    return model.to(dtype).to(memory_format=layout)


def numpy(tensor):
    return tensor.detach().double().contiguous().numpy().copy()


def compute(arch, image, target, lr, dtype, layout):
    image = image.to(dtype).to(memory_format=layout)
    model = network(arch, dtype, layout)
    with torch.no_grad():
        result = {"eval_logits": numpy(model.eval()(image))}
    start = {name: numpy(p) for name, p in model.named_parameters()}
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    result["losses"] = np.zeros(STEPS)
    for step in range(STEPS):
        optimizer.zero_grad()
        logits = model(image)
        loss = F.cross_entropy(logits, target)
        loss.backward()
        result["losses"][step] = loss.detach()
        if step == 0:
            result["training_logits"] = numpy(logits)
            result["gradients"] = {name: numpy(p.grad) for name, p in model.named_parameters()}
            result["running"] = {name: numpy(b) for name, b in model.named_buffers()
                                 if not name.endswith("num_batches_tracked")}
        optimizer.step()
    result["updates"] = {name: numpy(p) - start[name] for name, p in model.named_parameters()}
    return result


def choose_image(arch, batch, side, tries):
    """The image, of a few, that keeps the ReLUs of the training pass farthest from their kink."""
    best = (-1.0, "")
    for i in range(tries):
        name = f"image.{i}"
        x = torch.from_numpy(fill(name, (batch, 3, side, side))).double()
        with torch.no_grad(), ReluMargin() as margin:
            network(arch, torch.float64, torch.contiguous_format).train()(x)
        best = max(best, (margin.smallest, name))
    return best


# --- Summaries. ---


def values(exact, singles, key):
    return {
        "values": exact[key].ravel().tolist(),
        "float32": np.float32(singles[0][key]).ravel().astype(np.float64).tolist(),
        "error": max(float(np.abs(s[key] - exact[key]).max()) for s in singles),
    }


def rounded(x):
    return float(f"{x:.2e}")  # errors need no more


def summary(name, exact, singles):
    flat = exact.ravel()
    norm = float(np.sqrt(np.sum(flat * flat)))
    differences = [(s - exact).ravel() for s in singles]
    at = (bits(name + ".at", SAMPLES) % np.uint64(flat.size)).astype(np.int64)
    return {
        "count": flat.size,
        "norm": norm,
        "probe": float(np.sum(flat * unit(name + ".probe", flat.size))),
        "samples": flat[at].tolist(),
        "error_l2": rounded(max(float(np.sqrt(np.sum(d * d))) for d in differences) / norm),
        "error_max": rounded(max(float(np.abs(d).max()) for d in differences)),
    }


def summaries(exact, singles, key):
    return {name: summary(name, value, [s[key][name] for s in singles])
            for name, value in exact[key].items()}


def golden(arch, tries):
    batch, side, lr = NETWORKS[arch]
    margin, image_name = choose_image(arch, batch, side, tries)
    image = torch.from_numpy(fill(image_name, (batch, 3, side, side)))
    target = torch.from_numpy(labels(batch))
    run = lambda dtype, layout: compute(arch, image, target, lr, dtype, layout)  # noqa: E731
    exact = run(torch.float64, torch.contiguous_format)
    # Two orders of summation, so that the error is not that of one lucky run.
    singles = [run(torch.float32, torch.contiguous_format), run(torch.float32, torch.channels_last)]
    checked = ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "fc.bias"]
    state = build(arch, CLASSES).state_dict()
    return {
        "format": "resnet-golden-1",
        "made_with": "PyTorch " + torch.__version__.split("+")[0],
        "network": arch,
        "classes": CLASSES,
        "batch": batch,
        "image_size": side,
        "image": image_name,
        "labels": target.tolist(),
        "relu_margin": rounded(margin),
        "sgd": {"lr": lr, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY},
        "formula": {name: fill(name, tuple(state[name].shape)).ravel()[:4].astype(np.float64).tolist()
                    for name in checked if name in state}
        | {image_name: image.ravel()[-4:].double().tolist()},
        "eval_logits": values(exact, singles, "eval_logits"),
        "training_logits": values(exact, singles, "training_logits"),
        "losses": values(exact, singles, "losses"),
        "gradients": summaries(exact, singles, "gradients"),
        "running": summaries(exact, singles, "running"),
        "updates": summaries(exact, singles, "updates"),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--tries", type=int, default=6, help="images to choose from")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    for arch in options.networks or NETWORKS:
        if arch not in NETWORKS:
            parser.error(f"unknown network {arch!r}; known: {', '.join(NETWORKS)}")
        result = golden(arch, options.tries)
        path = options.out / f"{arch}.json"
        with open(path, "w", encoding="utf-8") as file:
            # One tensor a line: small, and still readable in a diff.
            rows = []
            for key, value in result.items():
                if key in ("gradients", "running", "updates"):
                    inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
                    rows.append(f"{json.dumps(key)}: {{\n{inner}\n}}")
                else:
                    rows.append(f"{json.dumps(key)}: {json.dumps(value)}")
            file.write("{\n" + ",\n".join(rows) + "\n}\n")
        losses = result["losses"]
        worst = max(result["gradients"].items(), key=lambda item: item[1]["error_l2"])
        print(f"{path}: {path.stat().st_size} bytes, margin {result['relu_margin']:.1e}, "
              f"loss {losses['values'][0]:.4f} -> {losses['values'][-1]:.4f}, "
              f"float32 error {losses['error']:.1e}; gradients' worst {worst[0]} "
              f"{worst[1]['error_l2']:.1e}, updates' worst "
              f"{max(u['error_l2'] for u in result['updates'].values()):.1e}", flush=True)


if __name__ == "__main__":
    main()
