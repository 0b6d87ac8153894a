"""
Depth: how transformers' DPTImageProcessor shows pictures to a network for depth, and what it makes of its answers.

test/golden/depth/
  sizes.json             [configuration, [width, height], [width, height]]: of a picture, and of what the network is shown
  depth-anything/, dpt/  small random networks with the form of exports for transformers, and their preprocessor_config.json
  bare.onnx, fixed.onnx  networks with the form of MiDaS' exports, for pictures of any size and of one
  maps.safetensors       <n>.picture uint8 [H, W, 3]; by each network <name>.<n>.depth float32 [h, w] and <name>.<n>.map
                         uint8 [H, W] of the picture's size; wide.map, depth-anything's of the first for one of 96 x 32
"""

import json

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from transformers.modeling_outputs import DepthEstimatorOutput
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil, get_resize_output_image_size

from common import GOLDEN, fresh, report, write_json, write_tensors

FOLDER = GOLDEN / "depth"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
ANYTHING = {"image_processor_type": "DPTImageProcessor", "do_resize": True, "do_rescale": True, "do_normalize": True, "do_pad": False,
            "size": {"height": 56, "width": 56}, "keep_aspect_ratio": True, "ensure_multiple_of": 14, "resample": 3,
            "rescale_factor": 1 / 255, "size_divisor": None} | IMAGENET
DPT = {"feature_extractor_type": "DPTFeatureExtractor", "do_resize": True, "do_normalize": True, "size": 48, "resample": 3,
       "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
BARE = {"size": {"height": 518, "width": 518}, "keep_aspect_ratio": True, "ensure_multiple_of": 14} | IMAGENET
FIXED = {"size": {"height": 48, "width": 64}} | IMAGENET
# Name, path, sides of the patches that it takes apart, configuration, shapes of the input and the output.
NETWORKS = [
    ("depth-anything", "depth-anything/onnx/model.onnx", 7, ANYTHING, ["batch_size", "num_channels", "height", "width"], ["batch_size", "rows", "columns"]),
    ("dpt", "dpt/model.onnx", 4, DPT, ["batch", 3, "height", "width"], ["batch", "rows", "columns"]),
    ("bare", "bare.onnx", 14, BARE, [1, 3, "height", "width"], [1, 1, "rows", "columns"]),
    ("fixed", "fixed.onnx", 2, FIXED, [1, 3, 48, 64], [1, 1, 24, 32]),
]
PHOTOS = [(40, 56), (64, 30), (70, 70)]


class WidthsFirst(DPTImageProcessorPil):
    """Resizes widths before heights, as Pillow did before 13, which chooses the order of the two by itself."""

    def resize(self, image, size, resample, **kwargs):
        target = get_resize_output_image_size(image, (size.height, size.width), kwargs["keep_aspect_ratio"], kwargs["ensure_multiple_of"])
        picture = Image.fromarray(image.transpose(1, 2, 0))
        across = picture.resize((target.width, picture.height), resample)
        return np.asarray(across.resize((target.width, target.height), resample)).transpose(2, 0, 1)


def photo(height, width, random):
    noise = random.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def save_network(path, patch, input_shape, output_shape, random):
    """Patches, mixed and brought back to a quarter of the picture's pixels."""
    shapes = {"patches": (4, 3, patch, patch), "mixed": (1, 4, 1, 1)}
    gains = {"patches": 4.0, "mixed": 20.0}
    tensors = [numpy_helper.from_array((random.normal(0, gains[name], shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32), f"{name}.weight")
               for name, shape in shapes.items()]
    tensors.append(numpy_helper.from_array(np.array([1, 1, patch / 2, patch / 2], np.float32), "scales"))
    nodes = [helper.make_node("Conv", ["picture", "patches.weight"], ["patches"], strides=[patch, patch]),
             helper.make_node("Tanh", ["patches"], ["bent"]),
             helper.make_node("Conv", ["bent", "mixed.weight"], ["mixed"]),
             helper.make_node("Resize", ["mixed", "", "scales"], ["larger"], mode="linear")]
    if len(output_shape) == 3:
        tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
        nodes.append(helper.make_node("Squeeze", ["larger", "axis"], ["depth"]))
    else:
        nodes[-1].output[0] = "depth"
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "graph", [info("picture", input_shape)], [info("depth", output_shape)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="limn's reference")
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def grey(depth):
    """As transformers' pipeline for depth estimation and ControlNet's MiDaS do."""
    return ((depth - depth.min()) / (depth.max() - depth.min()) * 255).numpy().astype(np.uint8)


def main():
    fresh(FOLDER)
    random = np.random.default_rng(4)
    tensors = {f"{n}.picture": photo(*size, random) for n, size in enumerate(PHOTOS)}
    sizes = []
    for name, path, patch, config, takes, gives in NETWORKS:
        save_network(FOLDER / path, patch, takes, gives, random)
        if name in ("depth-anything", "dpt"):
            (FOLDER / name / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n")
        processor = WidthsFirst(**{key: value for key, value in config.items() if not key.endswith("_type")})
        session = onnxruntime.InferenceSession(str(FOLDER / path), providers=["CPUExecutionProvider"])
        for n in range(len(PHOTOS)):
            one = tensors[f"{n}.picture"]
            seen = np.asarray(processor(one, input_data_format="channels_last")["pixel_values"], np.float32)
            given = session.run(None, {"picture": seen})[0]
            depth = torch.from_numpy(given.reshape(1, *given.shape[-2:]))
            targets = {f"{name}.{n}.map": one.shape[:2]} | ({"wide.map": (32, 96)} if (name, n) == ("depth-anything", 0) else {})
            for key, target in targets.items():
                tensors[key] = grey(processor.post_process_depth_estimation(DepthEstimatorOutput(predicted_depth=depth), [target])[0]["predicted_depth"])
            print(name, one.shape, seen.shape, tuple(depth.shape), float(depth.min()), float(depth.max()))
            if name != "bare":
                tensors[f"{name}.{n}.depth"] = depth[0].numpy()
        for _ in range(25):
            width, height = (int(side) for side in random.integers(20, 1500, 2))
            size = get_resize_output_image_size(np.zeros((3, height, width), np.uint8), (processor.size["height"], processor.size["width"]),
                                                processor.keep_aspect_ratio, processor.ensure_multiple_of)
            sizes.append([config, [width, height], [size.width, size.height]])
    write_tensors(FOLDER / "maps.safetensors", {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()})
    write_json(FOLDER / "sizes.json", sizes)
    report(FOLDER)


if __name__ == "__main__":
    main()
