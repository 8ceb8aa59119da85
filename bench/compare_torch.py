"""One measurement of PyTorch's training speed in one fresh process; prints one JSON object.

`compare` starts it. The arguments are those of `resnet bench`, and so is the work: one fixed
synthetic batch, and in each step zero_grad, forward, cross-entropy, backward and SGD with momentum 0.9
and weight decay 1e-4, all in fp32 and eager.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--layout", choices=("nchw", "channels_last"), default="nchw")
    parser.add_argument("--fused-sgd", action="store_true", help="torch.optim.SGD(fused=True)")
    parser.add_argument("--compile", action="store_true", help="torch.compile; for information only")
    args = parser.parse_args()

    import torch

    from torch_networks import build

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    after_import = peak_rss()
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    model = build(args.arch, args.classes).to(memory_format=layout).train()
    x = torch.randn(args.batch, 3, args.image_size, args.image_size).to(memory_format=layout)
    target = torch.randint(args.classes, (args.batch,))
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4,
                                fused=args.fused_sgd or None)
    run = torch.compile(model) if args.compile else model

    seconds = []
    loss = None
    for step in range(args.warmup + args.steps):
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_function(run(x), target)
        loss.backward()
        optimizer.step()
        loss_value = loss.item()
        if step >= args.warmup:
            seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds)
    json.dump({
        "engine": "pytorch " + torch.__version__,
        "arch": args.arch,
        "layout": args.layout,
        "batch": args.batch,
        "threads": args.threads,
        "steps": args.steps,
        "images_per_second": args.batch / median,
        "seconds_per_step": seconds,
        "peak_rss_bytes": peak_rss(),
        "import_rss_bytes": after_import,
        "loss": loss_value,
        "load_average": os.getloadavg()[0],
    }, sys.stdout)
    print()


if __name__ == "__main__":
    main()
