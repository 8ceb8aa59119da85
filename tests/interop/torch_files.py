"""PyTorch's files, both ways, to the bit: types, strides, offsets, sharing, both containers, and what an
attacker would put into one. python tests/interop/torch_files.py --resnet build/release/src/resnet"""

import argparse
import collections
import datetime
import enum
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from safetensors.torch import load_file

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8,
          torch.int32, torch.int64, torch.bool)


def bits(t):
    return t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""


def tensors():
    """Every type as a whole, transposed, sliced, expanded, permuted, empty and scalar."""
    random = torch.Generator().manual_seed(1)
    out = collections.OrderedDict()
    for dtype in DTYPES:
        x = torch.randint(0, 256, (4, 6, 8), dtype=torch.uint8, generator=random)
        x = x > 100 if dtype == torch.bool else x.view(dtype)
        name = str(dtype)[6:]
        out[name] = x
        out[name + ".tied"] = x
        out[name + ".transposed"] = x.transpose(0, 1)
        out[name + ".slice"] = x[1:3, ::2]
        out[name + ".column"] = x[:, 1:2, :1]
        out[name + ".permuted"] = x.permute(2, 0, 1)
        out[name + ".expanded"] = x[:1, :1].expand(3, 2, *x.shape[2:])
        out[name + ".empty"] = x[:0]
        out[name + ".scalar"] = x[0, 0, 0].clone()
    out["parameter"] = torch.nn.Parameter(torch.rand(3, generator=random))
    out["channels_last"] = torch.rand(2, 3, 4, 5, generator=random).contiguous(
        memory_format=torch.channels_last)
    return out


class Colour(enum.Enum):
    RED = 1

    @staticmethod
    def name_of(colour):
        return colour.name


class Outer:
    class Inner:
        pass


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resnet", required=True)
    resnet = parser.parse_args().resnet
    failures = 0

    def check(what, good):
        nonlocal failures
        if not good:
            failures += 1
            print("DIFFERS:", what)

    def run(*words):
        return subprocess.run([resnet, "weights", *map(str, words)], capture_output=True, text=True)

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        made = tensors()
        nested = {"epoch": 3, "lr": 0.1, "model": made}
        kinds = [(kind, dict(_use_new_zipfile_serialization=kind == "zip", pickle_protocol=protocol))
                 for kind in ("zip", "legacy") for protocol in (2, 3, 4, 5)]
        compared = 0
        for kind, options in kinds:
            label = f"{kind}, protocol {options['pickle_protocol']}"
            for prefix, content in (("", made), ("model.", nested)):
                source = folder / "in.pth"
                torch.save(content, source, **options)
                shown = json.loads(run("show", source, "--json").stdout)
                check(label + " format", shown["format"] == "PyTorch " + kind)
                names = [t["name"] for t in shown["tensors"]]
                check(label + " names", names == [prefix + k for k in made])
                if prefix:
                    check(label + " metadata", shown["metadata"] == {"epoch": "3", "lr": "0.1"})
                for out, load in (
                        ("out.safetensors", load_file),
                        ("out.pth", lambda p: torch.load(p, weights_only=True)),
                        ("out.pth", lambda p: torch.load(p, weights_only=True, mmap=True))):
                    outcome = run("convert", source, "-o", folder / out)
                    check(label + " " + out + outcome.stderr, outcome.returncode == 0)
                    back = load(folder / out)
                    check(label + " " + out + " names", set(back) == set(names))
                    for key, t in made.items():
                        b = back[prefix + key]
                        compared += 1
                        check(f"{label} {out} {key}", (b.dtype, b.shape, bits(b)) ==
                              (t.dtype, t.shape, bits(t.detach())))
        print(f"{compared} tensors of {len(DTYPES)} types agree to the bit"
              if failures == 0 else f"{failures} of {compared} comparisons differ")

        marker = folder / "marker"
        hostile = [(os.system, f"touch {marker}"), (eval, f"open({str(marker)!r}, 'w')"),
                   (exec, f"open({str(marker)!r}, 'w')"), (getattr, os, "system"),
                   (subprocess.Popen, ["touch", str(marker)]), (print, "x")]
        refused = 0
        for function, *arguments in hostile:
            for kind, options in kinds:
                source = folder / "hostile.pth"
                try:
                    torch.save({"w": torch.ones(2), "x": Hostile(function, *arguments)}, source, **options)
                except TypeError:  # a module cannot be pickled
                    continue
                outcome = run("show", source)
                good = (outcome.returncode == 4 and outcome.stderr.count("\n") == 1 and
                        "." + function.__name__ in outcome.stderr and not marker.exists())
                check(f"{function} in {kind}: {outcome.stderr}", good)
                refused += good
        print(f"{refused} hostile files refused by name, nothing ran")

        torch.save(torch.nn.Linear(2, 2), folder / "whole.pth")
        check("whole model", "state_dict()" in run("show", folder / "whole.pth").stderr)
        compressed = folder / "compressed.pth"
        subprocess.run([sys.executable, "-c",
                        "import sys, zipfile\n"
                        "i = zipfile.ZipFile(sys.argv[1]); o = zipfile.ZipFile(sys.argv[2], 'w', 8)\n"
                        "[o.writestr(n, i.read(n)) for n in i.namelist()]\n",
                        str(folder / "out.pth"), str(compressed)], check=True)
        check("compressed", run("show", compressed).stdout == run("show", folder / "out.pth").stdout)
        check("compressed", run("convert", compressed, "-o", folder / "c.safetensors").returncode == 0)
        for key, t in load_file(folder / "c.safetensors").items():
            check(f"compressed {key}", bits(t) == bits(back[key]))

        # What Lightning and mmengine keep beside the weights: read past, never run.
        for kind, options in kinds:
            good = {"w": torch.arange(6.0)}
            torch.save({"state_dict": good, "hyper_parameters": {
                "when": datetime.datetime.now(), "colour": Colour.RED, "inner": Outer.Inner(),
                "optimizer": functools.partial(torch.optim.SGD, lr=0.1), "where": pathlib.Path("a"),
                "loss": torch.nn.CrossEntropyLoss(weight=torch.ones(2)), "lr": numpy.float64(0.5),
                "dtype": numpy.dtype("f4"), "args": argparse.Namespace(a=Colour.RED), "method": Colour.name_of,
                "rng": numpy.random.RandomState(1)}}, folder / "l.ckpt", **options)
            shown = json.loads(run("show", folder / "l.ckpt", "--json").stdout or "{}")
            check(f"opaque {kind} {options}", [t["name"] for t in shown.get("tensors", [])] == ["state_dict.w"] and
                  "hyper_parameters.when" in shown["left_out"] and shown["metadata"]["hyper_parameters.lr"] == "0.5")
        torch.serialization.set_crc32_options(False)
        torch.save(made, folder / "no_crc.pth")
        check("without checksums", run("show", folder / "no_crc.pth").returncode == 0)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
