"""
Faces: how insightface finds, turns and recognises them, with random outputs of a detector and with small random networks.

test/golden/faces/
  pixels.safetensors     <n>.picture uint8 [H, W, 3]; <n>.resized, by OpenCV's resize; <n>.points float32 [5, 2], and what
                         norm_crop makes of them: <n>.face, and of 224 pixels 90 to 139 of rows and columns: 0.face224.middle
  outputs.safetensors    a detector's outputs 0 to 8 for a picture of 96 x 64; det [N, 5] (left, top, right, bottom, score) and
                         kps [N, 5, 2], what insightface reads in them for a picture of 150 x 100
  models/                detector.onnx and recogniser.onnx, small and random, with the form of antelopev2's; and as there
                         networks for other tasks before and between them, which are of no use
  batched.onnx, fixed.onnx, mxnet.onnx    a detector of outputs with a batch, one for pictures of one size, a recogniser that
                         normalises
  found.safetensors      <n>.picture, and by models/ <n>.det, <n>.kps, the largest first, and <n>.embeddings [N, 512] of the first
                         three; <n>.square, the square around the largest as Kolors' sample cuts it (PIL) and its script resizes it
                         to 42 pixels; 0.mxnet [1, 8]; 0.fixed.det
"""

import numpy as np
import onnx
import torch
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.retinaface import RetinaFace
from insightface.model_zoo.scrfd import SCRFD
from insightface.utils import face_align
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import cv2
from common import GOLDEN, fresh, report, write_tensors

FOLDER = GOLDEN / "faces"
PROVIDERS = ["CPUExecutionProvider"]
# Height and width, to height and width.
SIZES = [((90, 120), (48, 64)), ((40, 60), (20, 30)), ((33, 47), (60, 77)), ((61, 33), (64, 34)), ((3, 200), (2, 64))]
PHOTOS = [(80, 100), (104, 48), (64, 64)]


class Stub:
    """A session that gives outputs that are there already."""

    def __init__(self, outputs):
        self.outputs = outputs

    def get_inputs(self):
        return [type("Input", (), {"name": "input", "shape": [1, 3, "?", "?"]})]

    def get_outputs(self):
        return [type("Output", (), {"name": str(i), "shape": list(one.shape)}) for i, one in enumerate(self.outputs)]

    def run(self, names, feeds):
        return self.outputs


def photo(height, width, random):
    """Smooth shapes of all brightnesses."""
    noise = random.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def landmarks(height, width, random, flip=False):
    """The points of a face somewhere in the picture, not quite as ArcFace's lie."""
    angle, size = random.uniform(-0.6, 0.6), random.uniform(0.3, 1.4) * min(height, width) / 112
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shape = face_align.arcface_dst - 56
    if flip:
        shape = shape * [-1, 1]
    points = (shape + random.normal(0, 3, (5, 2))) @ turn.T + [width * random.uniform(0.3, 0.7), height * random.uniform(0.3, 0.7)]
    return points.astype(np.float32)


def save_pixels(random):
    tensors = {}
    for n, ((height, width), (to_height, to_width)) in enumerate(SIZES):
        one = photo(height, width, random)
        tensors[f"{n}.picture"] = one
        tensors[f"{n}.resized"] = cv2.resize(one, (to_width, to_height))
        tensors[f"{n}.points"] = points = landmarks(height, width, random, flip=n == 3)
        if n in (0, 3):
            tensors[f"{n}.face"] = face_align.norm_crop(one, points)
    tensors["0.face224.middle"] = face_align.norm_crop(tensors["0.picture"], tensors["0.points"], image_size=224)[90:140, 90:140]
    save("pixels.safetensors", tensors)


def save_outputs(random):
    grids = [(stride, 2 * (64 // stride) * (96 // stride)) for stride in (8, 16, 32)]
    scores = random.permutation(np.linspace(0.05, 0.95, sum(count for _, count in grids))).astype(np.float32)[:, None]
    outputs = list(np.split(scores, np.cumsum([count for _, count in grids])[:-1]))
    outputs += [random.uniform(0.3, 2.2, (count, 4)).astype(np.float32) for _, count in grids]
    outputs += [random.normal(0, 1, (count, 10)).astype(np.float32) for _, count in grids]
    reader = RetinaFace("", session=Stub(outputs))
    reader.prepare(0, input_size=(96, 64), det_thresh=0.5)
    det, kps = reader.detect(np.zeros((100, 150, 3), np.uint8))
    print("outputs", sum((one >= 0.5).sum() for one in outputs[:3]), "answers,", len(det), "faces")
    save("outputs.safetensors", {str(i): one for i, one in enumerate(outputs)} | {"det": det, "kps": kps})


def weights(name, shape, random, gain=1.0):
    values = random.normal(0, gain / np.prod(shape[1:]) ** 0.5, shape) if len(shape) > 1 else random.normal(0, 0.1, shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


def write_model(path, nodes, initializers, inputs, outputs):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="limn's reference")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def picture_input(height, width, name="input.1", batch=1):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3, height, width])


def save_detector(path, height="?", width="?", batched=False, seed=11):
    random = np.random.default_rng(seed)
    channels = 6
    nodes, tensors = [], []

    def conv(name, before, after, kernel, x, gain=1.0, bias=0.0):
        tensors.append(weights(f"{name}.weight", (after, before, kernel, kernel), random, gain))
        tensors.append(numpy_helper.from_array(np.full(after, bias, np.float32), f"{name}.bias"))
        nodes.append(helper.make_node("Conv", [x, f"{name}.weight", f"{name}.bias"], [name], name=name, kernel_shape=[kernel] * 2, strides=[kernel] * 2))
        return name

    def then(op, x, name, **attributes):
        nodes.append(helper.make_node(op, [x], [name], name=name, **attributes))
        return name

    grids, x, before = [], "input.1", 3
    for stride, kernel in ((8, 8), (16, 2), (32, 2)):
        x = then("Tanh", conv(f"grid{stride}", before, channels, kernel, x, 3.0), f"tanh{stride}")
        grids.append((stride, x))
        before = channels
    outputs = []
    for kind, values in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride, x in grids:
            gain, bias = {"score": (6.0, -7.0), "bbox": (1.0, 1.5), "kps": (1.5, 0.0)}[kind]
            h = conv(f"{kind}{stride}", channels, 2 * values, 1, x, gain, bias)
            h = then({"score": "Sigmoid", "bbox": "Softplus", "kps": "Identity"}[kind], h, f"{kind}{stride}.value")
            h = then("Transpose", h, f"{kind}{stride}.last", perm=[0, 2, 3, 1])
            name = f"{kind}_{stride}"
            shape = ([1] if batched else []) + [-1, values]
            tensors.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}.shape"))
            nodes.append(helper.make_node("Reshape", [h, f"{name}.shape"], [name], name=name))
            count = "?" if height == "?" else 2 * (height // stride) * (width // stride)
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ([1] if batched else []) + [count, values]))
    write_model(path, nodes, tensors, [picture_input(height, width)], outputs)


def save_recogniser(path, values=512, normalises=False):
    random = np.random.default_rng(6)
    nodes, tensors, x = [], [], "input.1"
    if normalises:
        tensors += [numpy_helper.from_array(np.float32(127.5), "mean"), numpy_helper.from_array(np.float32(1 / 128), "scale")]
        nodes += [helper.make_node("Sub", [x, "mean"], ["centred"], name="_minusscalar0"),
                  helper.make_node("Mul", ["centred", "scale"], ["scaled"], name="_mulscalar0")]
        x = "scaled"
    tensors += [weights("conv", (1, 3, 28, 28), random, 4.0), weights("last", (values, 16), random), weights("bias", (values,), random)]
    nodes += [helper.make_node("Conv", [x, "conv"], ["patches"], name="Conv_0", kernel_shape=[28, 28], strides=[28, 28]),
              helper.make_node("Flatten", ["patches"], ["flat"], name="Flatten_1"),
              helper.make_node("Gemm", ["flat", "last", "bias"], ["683"], name="Gemm_2", transB=1)]
    write_model(path, nodes, tensors, [picture_input(112, 112, batch="None")], [helper.make_tensor_value_info("683", TensorProto.FLOAT, ["None", values])])


def save_other(path, side):
    """A network for another task, such as antelopev2's landmarks."""
    tensors = [weights("conv", (2, 3, 1, 1), np.random.default_rng(7))]
    write_model(path, [helper.make_node("Conv", ["data", "conv"], ["fc1"], name="conv")], tensors,
                [picture_input(side, side, "data", "None")], [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, ["None", 2, side, side])])


def open_models(detector, recogniser, kind=RetinaFace, size=(640, 640)):
    finds = kind(str(FOLDER / detector))
    finds.prepare(0, input_size=size, det_thresh=0.5)
    return finds, ArcFaceONNX(str(FOLDER / recogniser))


def square(box):
    """The square with the same middle, in float32 as the detector's numbers are."""
    left, top, right, bottom = box
    x, y, r = (left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2
    return [x - r, y - r, x + r, y + r]


def found(finds, recognises, picture, count):
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    det, kps = finds.detect(bgr)
    order = sorted(range(len(det)), key=lambda i: (det[i][2] - det[i][0]) * (det[i][3] - det[i][1]), reverse=True)
    det, kps = det[order], kps[order]
    embeddings = [recognises.get(bgr, type("Face", (), {"kps": kps[i]})()) for i in range(min(count, len(det)))]
    return det, kps, np.stack(embeddings)


def save_found(random):
    tensors = {}
    finds, recognises = open_models("models/detector.onnx", "models/recogniser.onnx")
    for n, (height, width) in enumerate(PHOTOS):
        one = photo(height, width, random)
        det, kps, embeddings = found(finds, recognises, one, 3)
        assert len(set(det[:, 4])) == len(det), "scores that are alike"
        print("photo", n, len(det), "faces, largest", det[0])
        cut = Image.fromarray(one).crop(square(det[0, :4])).resize((42, 42))
        tensors |= {f"{n}.picture": one, f"{n}.det": det, f"{n}.kps": kps, f"{n}.embeddings": embeddings, f"{n}.square": np.asarray(cut)}
    first = tensors["0.picture"]
    tensors["0.mxnet"] = found(finds, open_models("models/detector.onnx", "mxnet.onnx")[1], first, 1)[2]
    tensors["0.fixed.det"] = found(open_models("fixed.onnx", "models/recogniser.onnx")[0], recognises, first, 1)[0]
    batched = open_models("batched.onnx", "models/recogniser.onnx", SCRFD)[0]
    assert (found(batched, recognises, first, 1)[0] == tensors["0.det"]).all()
    save("found.safetensors", tensors)


def save(name, arrays):
    write_tensors(FOLDER / name, {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})


def main():
    fresh(FOLDER)
    (FOLDER / "models").mkdir()
    save_pixels(np.random.default_rng(1))
    save_outputs(np.random.default_rng(2))
    save_other(FOLDER / "models" / "2d106det.onnx", 192)
    save_detector(FOLDER / "models" / "detector.onnx")
    save_other(FOLDER / "models" / "genderage.onnx", 96)
    save_recogniser(FOLDER / "models" / "recogniser.onnx")
    save_detector(FOLDER / "batched.onnx", batched=True)
    save_detector(FOLDER / "fixed.onnx", 96, 96)
    save_recogniser(FOLDER / "mxnet.onnx", values=8, normalises=True)
    save_found(np.random.default_rng(3))
    report(FOLDER)


if __name__ == "__main__":
    main()
