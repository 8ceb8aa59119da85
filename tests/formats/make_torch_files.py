"""Makes golden/*.pth with PyTorch: python make_torch_files.py. The tests only read what it made."""

import argparse
import collections
import pathlib

import torch

folder = pathlib.Path(__file__).parent / "golden"
folder.mkdir(exist_ok=True)


def checkpoint():
    x = torch.arange(24.0).reshape(2, 3, 4)
    state = collections.OrderedDict()
    state["module.conv1.weight"] = x
    state["module.conv1.tied"] = x
    state["module.transposed"] = x.transpose(0, 2)
    state["module.slice"] = x[1, 1:, ::2]
    state["module.expanded"] = x[0, 0, :1].expand(3)
    state["module.parameter"] = torch.nn.Parameter(torch.full((2,), 0.5))
    state["module.num_batches_tracked"] = torch.tensor(7)
    state["module.nothing"] = torch.zeros(0, 3)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8,
                  torch.int32, torch.int64):
        state["module." + str(dtype)[6:]] = torch.arange(-3, 4).abs().to(dtype)
    state["module.bool"] = torch.tensor([True, False, True])
    state["module.int16"] = torch.ones(2, dtype=torch.int16)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return {
        "epoch": 90,
        "best_acc1": 76.25,
        "arch": "resnet20",
        "done": True,
        "none": None,
        "args": argparse.Namespace(lr=0.1, milestones=[30, 60]),
        "state_dict": state,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}},
                      "param_groups": [{"lr": 0.01, "params": [0, 1]}]},
    }


torch.save(checkpoint(), folder / "zip.pth")
torch.save(checkpoint(), folder / "protocol4.pth", pickle_protocol=4)
torch.save(checkpoint(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(checkpoint(), folder / "legacy_protocol4.pth", _use_new_zipfile_serialization=False,
           pickle_protocol=4)
torch.save(torch.nn.Linear(2, 1), folder / "whole_model.pth")
