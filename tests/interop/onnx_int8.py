"""Int8 networks as ONNX, against ONNX's checker and ONNX Runtime.

    python tests/interop/onnx_int8.py --resnet build/release/src/resnet --f32 c10.safetensors c10-int8.safetensors DATA

The second model is what `resnet quantize` made of the first; DATA is cifar-10-binary.tar.gz, of which the test images are
taken, or a folder of images. It is exported, checked (types and shapes inferred,
too), run by ONNX Runtime, and imported again.

1. Each integer that ONNX Runtime makes is compared with the exact one: from the integers before it, in double, the real
   number v that it stands for, in steps of its scale. ONNX Runtime computes v in f32 from K products of an activation and
   a weight, a bias, and perhaps a residual, in K + 8 roundings; the 8 are of two scales, products with them, the addition
   and the division by the step. Rounding errors of independent signs add up to at most 8 sqrt(K + 8) 2^-24 times the sum
   of the absolute values, but for one value in 10^13 (Higham and Mary, SIAM J. Sci. Comput. 41, 2019, theorem 2.4, with
   lambda = 8). So the integer is within 1/2 plus that of v, saturated. Logits, which are not rounded, are within it alone.
2. Our logits against ONNX Runtime's. Where v lies within that error of a tie, two programs may round it to neighbours;
   what follows then sees other integers, and rounds them otherwise. So at worst these are two samples of the noise by
   which integers differ from real numbers, whose size is that of ours from f32: the root mean square of the difference
   is at most sqrt(2) times it. And a prediction may differ only where our first logit leads by at most twice the image's
   largest difference.
Exits with 1 when anything fails.
"""
import argparse
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from onnx import numpy_helper
from torch.nn import functional as F


def run(resnet, *arguments):
    done = subprocess.run([resnet, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"resnet {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def sessions(model):
    """ONNX Runtime with the graph's own outputs, and with every integer as an output."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    integers = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    types = {i.name: i.data_type for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            shown.graph.output.append(onnx.helper.make_tensor_value_info(node.output[0], types[node.input[2]], None))
    make = lambda m: onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
    return make(model), make(shown), integers


class Exact:
    """Each node in double, from the integers that ONNX Runtime had: the value and a bound of an f32 program's error."""

    UNIT = 2.0**-24

    def __init__(self, model, image, found):
        self.model, self.found = model, found
        self.values = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
        self.values["image"] = torch.from_numpy(image).double()
        self.sizes, self.terms = {}, {}  # the sum of absolute values behind a value, and their number
        self.rounded = self.differing = 0
        self.worst = self.bounds = 0.0  # farthest from a tie where an integer differs, and the largest bound, in steps

    def size(self, name):
        return self.sizes.get(name, self.values[name].double().abs())

    def bound(self, name):
        return 8 * (self.terms.get(name, 0) + 8) ** 0.5 * self.UNIT * self.size(name)

    def compare_integers(self, node):
        name, (x, scale, zero) = node.output[0], node.input
        step = self.values[scale].double()
        v, bound = self.values[x] / step, self.bound(x) / step
        low, high = (0, 255) if self.values[zero].dtype == torch.uint8 else (-128, 127)
        q = torch.from_numpy(self.found[name]).double()
        excess = (q - v.clamp(low, high)).abs() - 0.5
        if (excess > bound).any():
            i = int((excess - bound).argmax())
            raise AssertionError(f"{name}: {v.flatten()[i]:.6f} became {q.flatten()[i]}, f32 errs by at most "
                                 f"{bound.flatten()[i]:.2e}")
        other = q != v.round().clamp(low, high)
        self.rounded += q.numel()
        self.differing += int(other.sum())
        self.bounds = max(self.bounds, float(bound.max()))
        if other.any():
            self.worst = max(self.worst, float(excess[other].max()))
        self.values[name] = torch.from_numpy(self.found[name])

    def step(self, node):
        op, y = node.op_type, node.output[0]
        x = [self.values[name] for name in node.input]
        a = {i.name: onnx.helper.get_attribute_value(i) for i in node.attribute}
        terms = max((self.terms.get(name, 0) for name in node.input), default=0)
        if op == "QuantizeLinear":
            return self.compare_integers(node)
        linear = {  # what passes values on passes their sizes on likewise
            "MaxPool": lambda t: F.max_pool2d(t, a["kernel_shape"], a["strides"], a["pads"][:2]),
            "AveragePool": lambda t: F.avg_pool2d(t, a["kernel_shape"], a["strides"], a["pads"][:2],
                                                  count_include_pad=bool(a["count_include_pad"])),
            "GlobalAveragePool": lambda t: t.mean((2, 3), keepdim=True),
            "Flatten": lambda t: t.flatten(1),
            "Slice": lambda t: t[:, :, :: int(x[4][0]), :: int(x[4][1])],
            "Pad": lambda t: F.pad(t, (0, 0, 0, 0, int(x[1][1]), int(x[1][5]))),
        }
        if op in linear:
            self.values[y], self.sizes[y] = linear[op](x[0]), linear[op](self.size(node.input[0]))
            self.terms[y] = terms + (x[0][0, 0].numel() if "AveragePool" in op else 0)
            return
        if op == "DequantizeLinear":
            scale = x[1].double()
            self.values[y] = x[0].double() * (scale.reshape(-1, *[1] * (x[0].dim() - 1)) if scale.dim() else scale)
        elif op in ("Conv", "Gemm"):
            def product(data, weights, bias):
                if op == "Gemm":
                    return F.linear(data, weights, bias)
                assert a["pads"][:2] == a["pads"][2:]
                return F.conv2d(data, weights, bias, a["strides"], a["pads"][:2], a["dilations"], a["group"])
            x = [t.double() for t in x]
            self.values[y] = product(*x)
            self.sizes[y] = product(*(self.size(name) for name in node.input))
            terms += x[1][0].numel() + 1
        elif op == "Add":
            self.values[y] = x[0] + x[1]
            self.sizes[y] = self.size(node.input[0]) + self.size(node.input[1])
            terms += 1
        elif op == "Relu":
            self.values[y], self.sizes[y] = x[0].relu(), self.size(node.input[0])
        elif op == "BatchNormalization":
            gamma, beta, mean, var = (t.double().reshape(1, -1, 1, 1) for t in x[1:])
            factor = gamma / (var + a["epsilon"]).sqrt()
            self.values[y] = (x[0] - mean) * factor + beta
            self.sizes[y] = (self.size(node.input[0]) + mean.abs()) * factor.abs() + beta.abs()
            terms += 4
        elif op == "Softmax":
            return
        else:
            raise NotImplementedError(op)
        self.terms[y] = terms

    def run(self):
        for node in self.model.graph.node:
            self.step(node)
        return self.values["logits"], self.bound("logits")


def images_of(o, folder):
    """The files of some images, and their labels if they are known."""
    data = pathlib.Path(o.data)
    if data.is_dir():
        files = sorted(p for p in data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        return [files[i * len(files) // min(o.images, len(files))] for i in range(min(o.images, len(files)))], None
    with tarfile.open(data) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("test_batch.bin"))
        rows = np.frombuffer(archive.extractfile(member).read(), np.uint8).reshape(-1, 3073)[: o.images]
    files = [folder / f"{i:05d}.png" for i in range(len(rows))]
    for row, file in zip(rows, files):
        Image.fromarray(row[1:].reshape(3, 32, 32).transpose(1, 2, 0)).save(file)
    return files, rows[:, 0]


def array(resnet, folder, command, *arguments):
    out = folder / "array.npy"
    run(resnet, command[0], *command[1:], *arguments, "-o", out)
    return np.load(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet", required=True, help="the binary")
    parser.add_argument("--f32", required=True, metavar="MODEL", help="the model that was quantised")
    parser.add_argument("--images", type=int, default=1000, help="for the predictions")
    parser.add_argument("--exact", type=int, default=4, help="for the integers")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("data", metavar="DATA")
    o = parser.parse_args()
    print(f"onnx {onnx.__version__}, ONNX Runtime {onnxruntime.__version__}")
    failures = 0

    def report(good, text):
        nonlocal failures
        failures += not good
        print(f"{'ok  ' if good else 'FAIL'} {text}")

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        path = folder / "int8.onnx"
        run(o.resnet, "export", o.model, "--to", "onnx", "-o", path)
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(path)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        report(True, f"the checker takes it, {path.stat().st_size} bytes")

        back = folder / "back.safetensors"
        run(o.resnet, "import", path, "-o", back)
        ours = pathlib.Path(o.model)
        ours = ours / "model.safetensors" if ours.is_dir() else ours
        report(back.read_bytes() == ours.read_bytes(), "imported again it is the same file")

        files, labels = images_of(o, folder)
        images = array(o.resnet, folder, ["data", "tensor"], "--model", o.model, *files)
        session, showing, integers = sessions(model)
        few = images[: o.exact]
        found = dict(zip(integers, showing.run(integers, {"image": few})))
        exact = Exact(model, few, found)
        try:
            logits, bound = exact.run()
            report(True, f"{exact.rounded} integers of {len(integers)} activations are rounded right, but {exact.differing} "
                         f"that are at most {exact.worst:.1e} steps from a tie, of {exact.bounds:.1e} allowed")
            error = (torch.from_numpy(showing.run(["logits"], {"image": few})[0]) - logits).abs()
            report(bool((error <= bound).all()), f"logits are {float(error.max()):.2e} from the exact ones, "
                                                 f"{float((error / bound).max()):.1e} of the bound")
        except AssertionError as e:
            report(False, e)

        theirs = np.concatenate([session.run(["logits"], {"image": images[i : i + 50]})[0]
                                 for i in range(0, len(images), 50)]).astype(np.float64)
        mine, real = (array(o.resnet, folder, ["embed"], m, *files, "--layer", "fc").astype(np.float64)
                      for m in (o.model, o.f32))
        rms = lambda x: float(np.sqrt(np.mean(x**2)))
        difference, noise = rms(theirs - mine), rms(mine - real)
        report(difference <= 2**0.5 * noise, f"logits differ by {difference:.2e} (root mean square), ours from f32 by "
                                             f"{noise:.2e}; spread of the logits {mine.std():.2e}")
        first, second = np.sort(mine, 1)[:, :-3:-1].T if mine.shape[1] > 1 else (mine[:, 0], mine[:, 0])
        other = theirs.argmax(1) != mine.argmax(1)
        close = first - second <= 2 * np.abs(theirs - mine).max(1)
        report(not (other & ~close).any(), f"{len(mine) - other.sum()} of {len(mine)} predictions agree, "
                                           f"{other.sum()} others are where two logits are that close")
        if labels is not None:
            print(f"     correct predictions: f32 {np.mean(real.argmax(1) == labels):.4f}, ours "
                  f"{np.mean(mine.argmax(1) == labels):.4f}, ONNX Runtime's {np.mean(theirs.argmax(1) == labels):.4f}")
    print("all good" if failures == 0 else f"{failures} checks failed")
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
