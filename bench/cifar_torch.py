#!/usr/bin/env python3
"""CIFAR-10 in PyTorch by the recipe of `resnet train`, for comparing accuracy and time at equal epochs.

    python bench/cifar_torch.py cifar-10-binary.tar.gz --arch resnet20 --epochs 10

Batch 128, SGD with momentum 0.9 and weight decay 1e-4 on every parameter, cross-entropy, He
initialisation, 4-pixel zero padding with random crop and horizontal flip, per-channel mean and std,
channels_last, fp32 or, with --bf16, autocast. With --recipe cifar-fast it is what `resnet train --recipe
cifar-fast` does, from the network to the flips. Prints one line an epoch and one JSON object at the end. The images are in memory
and augmented a batch at a time with array operations, so that data costs PyTorch next to nothing.
"""

import argparse
import json
import math
import os
import tarfile
import time

import numpy as np
import torch
import torch.nn.functional as F

from torch_networks import build

RECORD = 1 + 3 * 32 * 32
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(1, 3, 1, 1)


def load(path):
    """(images u8 [n, 3, 32, 32], labels i64 [n]) of the training and of the test part."""
    parts = {"train": {}, "test": {}}
    with tarfile.open(path) as archive:
        for member in archive:
            name = os.path.basename(member.name)
            if not name.endswith(".bin"):
                continue
            data = archive.extractfile(member).read()
            if len(data) == 0 or len(data) % RECORD:
                raise SystemExit(f"{path}: {name} has {len(data)} bytes, not a multiple of {RECORD}")
            parts["test" if name.startswith("test") else "train"][name] = np.frombuffer(data, np.uint8)
    result = []
    for part, files in parts.items():
        if not files:
            raise SystemExit(f"{path}: holds no {part} batches (*.bin)")
        rows = np.concatenate([files[name].reshape(-1, RECORD) for name in sorted(files)])
        result.append((torch.from_numpy(rows[:, 1:].reshape(-1, 3, 32, 32).copy()),
                       torch.from_numpy(rows[:, 0].astype(np.int64))))
    return result


def normalise(images):
    x = (images.float() / 255 - MEAN) / STD
    return x.contiguous(memory_format=torch.channels_last)


def augment(padded, index, generator, flip=None):
    """Random 32x32 crops of padded images (u8), half of them or those of `flip` [n] flipped."""
    n, places = len(index), padded.shape[3] - 31
    dy = torch.randint(places, (n, 1, 1, 1), generator=generator)
    dx = torch.randint(places, (n, 1, 1, 1), generator=generator)
    if flip is None:
        flip = torch.rand(n, generator=generator) < 0.5
    flip = flip.view(n, 1, 1, 1)
    rows = dy + torch.arange(32).view(1, 1, 32, 1)
    columns = torch.arange(32).view(1, 1, 1, 32)
    columns = dx + torch.where(flip, 31 - columns, columns)
    return padded[index.view(n, 1, 1, 1), torch.arange(3).view(1, 3, 1, 1), rows, columns]


def rate(options, step, steps):
    """The learning rate of a step: linear warm-up, then the schedule."""
    warmup = options.warmup_epochs * steps / options.epochs
    if step < warmup:
        if options.recipe:
            return options.lr * (0.2 + 0.8 * step / warmup)
        return options.lr * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    if options.recipe:
        return options.lr * (1 - progress)
    if options.schedule == "cosine":
        return options.lr * 0.5 * (1 + math.cos(math.pi * progress))
    # He et al.: divided by 10 after 1/2 and 3/4 of the iterations.
    return options.lr * (0.01 if step >= 0.75 * steps else 0.1 if step >= 0.5 * steps else 1.0)


def initialise(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def evaluate(model, images, target, views=False):
    """Top-1 and loss; with `views` of the mean of the probabilities of each image, of it moved by a
    pixel and back, and of the mirror images of these three."""
    model.eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for i in range(0, len(target), 500):
            x = normalise(images[i : i + 500])
            looks = [x]
            if views:
                looks = [x, x.flip(3)]
                for look in looks[:]:
                    padded = F.pad(look, (1, 1, 1, 1), mode="reflect")
                    looks += [padded[:, :, s : s + 32, s : s + 32] for s in (0, 2)]
            predictions = [model(look.contiguous(memory_format=torch.channels_last)).float().softmax(1) for look in looks]
            logits = torch.stack(predictions).mean(0).log()
            loss += F.cross_entropy(logits, target[i : i + 500], reduction="sum").item()
            correct += (logits.argmax(1) == target[i : i + 500]).sum().item()
    return correct / len(target), loss / len(target)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="cifar-10-binary.tar.gz")
    parser.add_argument("--arch", default="resnet20")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--schedule", choices=("cosine", "steps"), default="cosine")
    parser.add_argument("--warmup-epochs", type=float, default=0.0)
    parser.add_argument("--recipe", choices=("cifar-fast",), help="replaces --arch and what shapes a step")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-steps", type=int, default=0, help="stop each epoch early, for a try")
    options = parser.parse_args()

    started = time.perf_counter()
    fast = options.recipe is not None
    if fast:
        options.arch, options.batch, options.lr = "resnet8-fast", 512, 0.75
        options.warmup_epochs = 0.23 * options.epochs
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    (train_x, train_y), (test_x, test_y) = load(options.data)
    model = build(options.arch, 10)
    if fast:
        padded = F.pad(train_x.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
        sample = normalise(train_x[:: len(train_x) // 2000])
        model.whiten(sample.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 2, 2))
        first_flip = torch.rand(len(train_x), generator=generator) < 0.5
    else:
        padded = F.pad(train_x, (4, 4, 4, 4))
        initialise(model)
    model = model.to(memory_format=torch.channels_last)
    if fast:
        trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        def group(chosen, factor, decay):
            return {"params": [p for n, p in trained if chosen(n, p)], "factor": factor,
                    "weight_decay": decay}
        optimizer = torch.optim.SGD(
            [group(lambda n, p: ".bn" in n and n.endswith("bias"), 64, 0),
             group(lambda n, p: p.dim() > 1, 1, 1.3e-3),
             group(lambda n, p: p.dim() == 1 and not (".bn" in n and n.endswith("bias")), 1, 0)],
            lr=options.lr, momentum=0.85, nesterov=True, fused=True)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=1e-4,
                                    fused=True)

    batches = len(train_y) // options.batch
    batches = min(batches, options.max_steps) if options.max_steps else batches
    steps, step = options.epochs * batches, 0
    training_seconds, data_seconds = 0.0, 0.0
    top1 = test_loss = 0.0
    for epoch in range(options.epochs):
        model.train()
        order = torch.randperm(len(train_y), generator=generator)
        begin, total = time.perf_counter(), 0.0
        for b in range(batches):
            data_begin = time.perf_counter()
            index = order[b * options.batch : (b + 1) * options.batch]
            flip = first_flip[index] ^ (epoch % 2 == 1) if fast else None
            x, y = normalise(augment(padded, index, generator, flip)), train_y[index]
            data_seconds += time.perf_counter() - data_begin
            for group in optimizer.param_groups:
                group["lr"] = rate(options, step, steps) * group.get("factor", 1)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), y, label_smoothing=0.2 if fast else 0)
            loss.backward()
            optimizer.step()
            total += loss.item()
            step += 1
        seconds = time.perf_counter() - begin
        training_seconds += seconds
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            top1, test_loss = evaluate(model, test_x, test_y, fast)
        print(f"epoch {epoch + 1}: loss {total / batches:.4f}, test top-1 {top1:.4f}, "
              f"{batches * options.batch / seconds:.1f} images/s", flush=True)
    print(json.dumps({
        "engine": "pytorch " + torch.__version__, "arch": options.arch, "epochs": options.epochs,
        "top1": top1, "loss": test_loss, "images": len(test_y), "training_seconds": training_seconds,
        "data_seconds": data_seconds,
        "seconds": time.perf_counter() - started, "images_per_second": steps * options.batch / training_seconds,
    }))


if __name__ == "__main__":
    main()
