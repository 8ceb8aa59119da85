"""Weights of torchvision's and timm's ResNets in, and out again, by logits and to the bit.

    python tests/interop/torchvision_weights.py --resnet build/release/src/resnet

In: random weights and batch-norm statistics in files as people have them; `resnet import` finds the network and the
preprocessing by itself, and the logits of three images are compared with PyTorch's in double precision (the
tolerance is that of onnx_files.py).
Out: `resnet export` of each; PyTorch loads the files strictly, and every tensor is what it was, to the bit.
Counters of batches have no place in our model files and come out as 0. Exits with 1 when anything fails.
"""
import json

import timm
import torch
import torchvision
from onnx_files import check_all, randomise, reference
from safetensors.torch import load_file, save_file

SIDE = 64
NETWORKS = {
    **{name: getattr(torchvision.models, name) for name in
       ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
    "resnet50d": lambda: timm.create_model("resnet50d"),
}


def is_counter(name):
    return name.endswith("num_batches_tracked")


def without_counters(state):
    return {name: tensor for name, tensor in state.items() if not is_counter(name)}


def save_legacy(state, path):
    """As torchvision's first files, which have no counters (PyTorch before 0.4.1)."""
    torch.save(without_counters(state), path, _use_new_zipfile_serialization=False)


def save_parallel(state, path):
    """A checkpoint of PyTorch's ImageNet example."""
    torch.save({"epoch": 90, "arch": "resnet", "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)


FILES = {  # format that import reports, how it is saved
    "zip.pth": ("PyTorch zip", torch.save),
    "legacy.pth": ("PyTorch legacy", save_legacy),
    "parallel.pth.tar": ("PyTorch zip", save_parallel),
    "weights.safetensors": ("safetensors", save_file),
}


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def count_equal(make, state, loaded):
    """After a strict load: how many tensors are equal to the bit, of how many."""
    network = make()
    network.load_state_dict(loaded, strict=True)
    found = network.state_dict()
    equal = sum(
        found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        and torch.equal(bits(found[name]), bits(torch.zeros_like(tensor) if is_counter(name) else tensor))
        for name, tensor in state.items())
    return equal, len(state)


def check_network(check, name):
    make = NETWORKS[name]
    torch.manual_seed(1)
    network = randomise(make(), SIDE)
    images, _, exact, allowed = reference(network, check.folder, SIDE)
    print(f"{name}, largest logit {abs(exact).max():.3g}")
    state = network.state_dict()
    weights, model = (check.folder / x for x in ("weights", "model.safetensors"))
    for file, (format, save) in FILES.items():
        save(state, weights)  # told by its bytes: no extension
        report = json.loads(check.run("import", weights, "--image-size", SIDE, "--resize", 0, "--json", "-o", model))
        found = [report[key] for key in ("architecture", "classes", "format", "structural")]
        matched = len(report["matched"])
        good = found == [name, 1000, format, False] and matched == len(without_counters(state))
        check.failures += not good
        print(f"  {'ok  ' if good else 'FAIL'} {file}: {found[0]} of {found[2]}, {matched} tensors matched")
        check.report(f"{file}: logits", check.logits(model, images), exact, allowed)
        for to, load in (("torch", lambda path: torch.load(path, weights_only=True)), ("safetensors", load_file)):
            out = check.folder / ("out.pth" if to == "torch" else "out.safetensors")
            check.run("export", model, "--to", to, "-o", out)
            equal, of = count_equal(make, state, load(out))
            check.failures += equal != of
            print(f"  {'ok  ' if equal == of else 'FAIL'} {file}: --to {to}: {equal} of {of} tensors equal to the bit")


def main():
    torch.set_num_threads(1)
    check_all(__doc__, NETWORKS, check_network,
              f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}")


if __name__ == "__main__":
    main()
