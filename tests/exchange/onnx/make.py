"""The graphs in this folder: small CIFAR networks as PyTorch's two exporters write them, without their weights.

    python tests/exchange/onnx/make.py      # with the packages that tests/interop/README.md names

All values of tensors of floats are said to be in `weights.bin`, which the test makes: float i of it is
(i * 37 % 1021 - 510) / 1024. Names, operations and constants are as the exporters left them.
"""
import pathlib
import sys
import warnings

import onnx
import torch

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "interop"))
from onnx_files import Cifar, export_from_torch, randomise  # noqa: E402

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
