"""The graphs in this folder: small CIFAR networks as PyTorch's two exporters write them, without their weights.

    python tests/exchange/onnx/make.py      # with torch, onnx and onnxscript

All values of tensors of floats are said to be in `weights.bin`, which the test makes: float i of it is
(i * 37 % 1021 - 510) / 1024. Names, operations and constants are as the exporters left them.
"""
import pathlib
import warnings

import onnx
import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent


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


def export_from_torch(network, images, path, dynamo):
    if dynamo:
        torch.onnx.export(network, (images,), path, dynamo=True, verbose=False,
                          dynamic_shapes=({0: torch.export.Dim("batch")},))
    else:
        torch.onnx.export(network, (images,), path, dynamo=False, input_names=["input"], output_names=["output"],
                          dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}})


NETWORKS = {"resnet8_a": Cifar(1, "A", classes=4), "resnet8_b": Cifar(1, "B", classes=4),
            "resnet8v2": Cifar(1, "B", v2=True, classes=4)}

warnings.filterwarnings("ignore")
torch.manual_seed(1)
for name, network in NETWORKS.items():
    randomise(network, 32)
    for dynamo in (False, True):
        path = HERE / f"{name}_{'dynamo' if dynamo else 'torchscript'}.onnx"
        export_from_torch(network, torch.randn(2, 3, 32, 32), path, dynamo)
        model = onnx.load(path)
        (HERE / f"{path.name}.data").unlink(missing_ok=True)
        offset = 0
        for tensor in model.graph.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT or not tensor.dims:
                continue
            length = 4
            for d in tensor.dims:
                length *= d
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            for key, value in (("location", "weights.bin"), ("offset", offset), ("length", length)):
                tensor.external_data.add(key=key, value=str(value))
            offset += length
        del model.graph.value_info[:]
        for node in model.graph.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
        path.write_bytes(model.SerializeToString())
        print(path.name, path.stat().st_size, "bytes,", offset, "bytes of weights")
