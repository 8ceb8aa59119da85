"""Writes the files that engines read: `compare_models.py ARCH FOLDER` writes ARCH.onnx, ARCH.int8.onnx
(QDQ by ONNX Runtime's static quantisation: weights by channel, calibrated on noise, as accuracy does not matter
here), ARCH.pth and one photograph-like JPEG. `compare` starts it.
"""

import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")


def main():
    import numpy
    import torch
    from onnxruntime.quantization import (CalibrationDataReader, QuantFormat, QuantType,
                                          quantize_static)
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from PIL import Image

    from torch_networks import build

    arch, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = build(arch, 1000).eval()
    torch.save(model.state_dict(), folder / f"{arch}.pth")
    x = torch.randn(1, 3, 224, 224)
    plain = folder / f"{arch}.onnx"
    torch.onnx.export(model, (x,), str(plain), dynamo=False, input_names=["image"],
                      output_names=["logits"], dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}})

    class Noise(CalibrationDataReader):
        def __init__(self):
            random = numpy.random.default_rng(1)
            self.batches = iter([random.standard_normal((4, 3, 224, 224), dtype=numpy.float32)
                                 for _ in range(2)])

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else {"image": batch}

    prepared = folder / f"{arch}.prepared.onnx"
    quant_pre_process(str(plain), str(prepared))
    quantize_static(str(prepared), str(folder / f"{arch}.int8.onnx"), Noise(),
                    quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    prepared.unlink()
    coarse = numpy.random.default_rng(2).integers(0, 256, (24, 32, 3), dtype=numpy.uint8)
    Image.fromarray(coarse).resize((500, 375), Image.BICUBIC).save(folder / "image.jpg", quality=90)


if __name__ == "__main__":
    main()
