"""The networks of the comparison as PyTorch modules, with torchvision's names of weights.

`build(arch, classes)` knows resnet18, resnet34, resnet50, resnet101 and resnet152 (torchvision's own),
the same with a "d" behind (timm's own),
resnet{6n+2} (CIFAR, He et al. 2015, option A shortcuts), resnet{6n+2}v2 (CIFAR, pre-activation,
basic blocks), resnet50v2 (ImageNet, pre-activation, bottlenecks; He et al. 2016) and resnet8-fast.
"""

import re

import torch
import torch.nn.functional as F
from torch import nn


def conv(cin, cout, kernel, stride=1):
    return nn.Conv2d(cin, cout, kernel, stride, padding=kernel // 2, bias=False)


class CifarBlock(nn.Module):
    """Two 3x3 convolutions; where the shape changes, the shortcut is subsampled and zero-padded."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(cin, cout, 3, stride), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = conv(cout, cout, 3), nn.BatchNorm2d(cout)
        self.stride, self.front, self.back = stride, (cout - cin) // 2, (cout - cin + 1) // 2

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.stride != 1 or self.front + self.back:
            s = self.stride
            x = F.pad(x[:, :, ::s, ::s], (0, 0, 0, 0, self.front, self.back))
        y += x
        return F.relu(y, inplace=True)


class CifarResNet(nn.Module):
    def __init__(self, depth, classes):
        super().__init__()
        n = (depth - 2) // 6
        self.conv1, self.bn1 = conv(3, 16, 3), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[CifarBlock(16, 16, 1) for _ in range(n)])
        self.layer2 = nn.Sequential(*[CifarBlock(32 if i else 16, 32, 1 if i else 2) for i in range(n)])
        self.layer3 = nn.Sequential(*[CifarBlock(64 if i else 32, 64, 1 if i else 2) for i in range(n)])
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class PreActBlock(nn.Module):
    """bn-relu-conv3x3-bn-relu-conv3x3; a projection reads relu(bn1(x))."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(cin), conv(cin, cout, 3, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(cout), conv(cout, cout, 3)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(conv(cin, cout, 1, stride))

    def forward(self, x):
        a = F.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(a)
        return self.conv2(F.relu(self.bn2(self.conv1(a)))) + shortcut


class PreActBottleneck(nn.Module):
    """bn-relu-conv1x1-bn-relu-conv3x3 (the stride is here)-bn-relu-conv1x1 (4x filters)."""

    def __init__(self, cin, planes, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(cin), conv(cin, planes, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(planes), conv(planes, planes, 3, stride)
        self.bn3, self.conv3 = nn.BatchNorm2d(planes), conv(planes, 4 * planes, 1)
        self.downsample = None
        if stride != 1 or cin != 4 * planes:
            self.downsample = nn.Sequential(conv(cin, 4 * planes, 1, stride))

    def forward(self, x):
        a = F.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(a)
        y = self.conv2(F.relu(self.bn2(self.conv1(a))))
        return self.conv3(F.relu(self.bn3(y))) + shortcut


class CifarPreActResNet(nn.Module):
    """The stem is a convolution alone; the last batch norm (`bn`) and ReLU stand before the pooling."""

    def __init__(self, depth, classes):
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = conv(3, 16, 3)
        self.layer1 = nn.Sequential(*[PreActBlock(16, 16, 1) for _ in range(n)])
        self.layer2 = nn.Sequential(*[PreActBlock(32 if i else 16, 32, 1 if i else 2) for i in range(n)])
        self.layer3 = nn.Sequential(*[PreActBlock(64 if i else 32, 64, 1 if i else 2) for i in range(n)])
        self.bn = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = F.relu(self.bn(x))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class PreActResNet50(nn.Module):
    """Stem: conv 7x7 stride 2 and max pool, without batch norm and ReLU; `bn` and ReLU at the end."""

    def __init__(self, classes):
        super().__init__()
        self.conv1 = conv(3, 64, 7, 2)
        cin = 64
        for stage, (planes, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3)), start=1):
            layers = []
            for i in range(blocks):
                layers.append(PreActBottleneck(cin, planes, 2 if i == 0 and stage > 1 else 1))
                cin = 4 * planes
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.bn = nn.BatchNorm2d(2048)
        self.fc = nn.Linear(2048, classes)

    def forward(self, x):
        x = F.max_pool2d(self.conv1(x), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        x = F.relu(self.bn(x))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class FastStage(nn.Module):
    """conv-pool-bn-relu, conv-bn, a skip over the second, relu; convolutions begin as the identity."""

    def __init__(self, cin, cout):
        super().__init__()
        self.conv1, self.bn1 = conv(cin, cout, 3), nn.BatchNorm2d(cout, momentum=0.4)
        self.conv2, self.bn2 = conv(cout, cout, 3), nn.BatchNorm2d(cout, momentum=0.4)
        for c in (self.conv1, self.conv2):
            nn.init.dirac_(c.weight.data[: c.in_channels])

    def forward(self, x):
        x = F.relu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return F.relu(self.bn2(self.conv2(x)) + x)


class FastResNet(nn.Module):
    """`whiten(patches)` fills the stem, which is not trained, from patches [n, 3, 2, 2]."""

    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 2)
        self.conv1.weight.requires_grad = False
        self.layer1, self.layer2, self.layer3 = FastStage(24, 64), FastStage(64, 256), FastStage(256, 256)
        self.fc = nn.Linear(256, classes)

    def whiten(self, patches):
        flat = patches.flatten(1).double()
        values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
        filters = (vectors / torch.sqrt(values + 5e-4)).T.flip(0).reshape(12, 3, 2, 2)
        self.conv1.weight.data.copy_(torch.cat([filters, -filters]))

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(F.relu(self.conv1(x)))))
        return self.fc(torch.flatten(F.max_pool2d(x, 3), 1) / 9)


def build(arch, classes):
    if arch == "resnet8-fast":
        return FastResNet(classes)
    if arch in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        import torchvision  # only here, so that the CIFAR networks do not pay for its import

        return getattr(torchvision.models, arch)(weights=None, num_classes=classes)
    if re.fullmatch(r"resnet\d+d", arch):
        import timm

        return timm.create_model(arch, num_classes=classes)
    if arch == "resnet50v2":
        return PreActResNet50(classes)
    match = re.fullmatch(r"resnet(\d+)(v2)?", arch)
    if match and int(match[1]) % 6 == 2:
        return (CifarPreActResNet if match[2] else CifarResNet)(int(match[1]), classes)
    raise SystemExit(f"unknown architecture {arch!r}; see the head of {__file__}")
