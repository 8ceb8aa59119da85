"""Writes torchvision_names.txt: names and shapes of torchvision's ResNets, in the order of state_dict.

Run it where torchvision is installed: python3 make_torchvision_names.py > torchvision_names.txt
"""

import torchvision

for layers in (18, 34, 50, 101, 152):
    model = getattr(torchvision.models, f"resnet{layers}")()
    count = sum(p.numel() for p in model.parameters())
    print(f"# resnet{layers} {count}")
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            print(name, "x".join(map(str, tensor.shape)))
