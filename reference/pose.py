"""
Poses: how DWPose finds people and draws them, spelled out with OpenCV and NumPy, by small random networks of the form of
yolox_l.onnx and dw-ll_ucoco_384.onnx.

test/golden/pose/
  models/                detector.onnx, estimator.onnx
  answers.safetensors    answers [1, N, 8] of a detector for a picture of 128 x 96, and what is found in them: boxes [P, 4] (left,
                         top, right, bottom) and scores [P], in a picture of 160 x 100; x [1, 133, 72] and y [1, 133, 96] of an
                         estimator, and points [134, 3] (x, y, score) in OpenPose's order of the person in the first box
  found.safetensors      <n>.picture uint8 [H, W, 3]; <n>.boxes, <n>.points [P, 134, 3], by models/
  found-<n>.png          their drawings, in the size of the picture
  drawn.json             [{ name, size of the picture, size of the drawing, faces }]
  drawn.safetensors      <name> [P, 134, 3], people
  <name>.png             their drawings
"""

import colorsys
import math

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from common import GOLDEN, fresh, report, write_json, write_tensors

FOLDER = GOLDEN / "pose"
FRAME = (128, 96)
SHOWN = (36, 48)
CLASSES = 3
LIMBS = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)]
COLOURS = [(255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85), (0, 255, 170),
           (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)]
# COCO-WholeBody's points in OpenPose's order; -1 is the neck.
ORDER = [0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, *range(17, 133)]


# What the networks see, and what is read in their answers.

def letterbox(picture):
    ratio = min(FRAME[0] / picture.shape[1], FRAME[1] / picture.shape[0])
    small = cv2.resize(picture, (int(picture.shape[1] * ratio), int(picture.shape[0] * ratio)), interpolation=cv2.INTER_LINEAR)
    frame = np.full((FRAME[1], FRAME[0], 3), 114, np.uint8)
    frame[: small.shape[0], : small.shape[1]] = small
    return frame.transpose(2, 0, 1)[None].astype(np.float32), ratio


def people_in(answers, ratio):
    grids = [(stride, *place) for stride in (8, 16, 32) for place in np.ndindex(FRAME[1] // stride, FRAME[0] // stride)]
    stride, row, column = np.array(grids).T
    values = answers[0].copy()
    values[:, 0] = (values[:, 0] + column) * stride
    values[:, 1] = (values[:, 1] + row) * stride
    values[:, 2:4] = np.exp(values[:, 2:4]) * stride[:, None]
    scores = values[:, 4] * values[:, 5]
    half = values[:, 2:4] / 2.0
    boxes = np.hstack([values[:, :2] - half, values[:, :2] + half])
    boxes /= ratio
    candidates = scores > 0.1
    boxes, scores = boxes[candidates], scores[candidates]
    kept = surest_apart(boxes, scores, 0.45)
    kept = [i for i in kept if scores[i] > 0.3]
    return boxes[kept], scores[kept]


def surest_apart(boxes, scores, most):
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    left, kept = list(np.argsort(-scores)), []
    while left:
        first, *left = left
        kept.append(first)
        upper, lower = np.maximum(boxes[first, :2], boxes[left, :2]), np.minimum(boxes[first, 2:], boxes[left, 2:])
        across, down = np.maximum(0.0, lower - upper + 1).T
        both = across * down
        left = [i for i, share in zip(left, both / (areas[first] + areas[left] - both)) if share <= most]
    return kept


def window(box):
    x0, y0, x1, y1 = box.astype(np.float64)
    middle, size = np.array([(x0 + x1) * 0.5, (y0 + y1) * 0.5]), np.array([x1 - x0, y1 - y0]) * 1.25
    ratio = SHOWN[0] / SHOWN[1]
    size = np.array([size[0], size[0] / ratio]) if size[0] > size[1] * ratio else np.array([size[1] * ratio, size[1]])
    return middle, size


def shown(picture, middle, size):
    def corner(centre, half):
        points = np.zeros((3, 2), np.float32)
        points[0] = centre
        points[1] = centre + np.array([0, -half])
        up = points[0] - points[1]
        points[2] = points[1] + np.array([-up[1], up[0]], np.float32)
        return points

    matrix = cv2.getAffineTransform(corner(middle, size[0] / 2), corner(np.array(SHOWN) / 2, SHOWN[0] / 2))
    cut = cv2.warpAffine(picture, matrix, SHOWN, flags=cv2.INTER_LINEAR)
    normal = (cut - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    return normal.transpose(2, 0, 1)[None].astype(np.float32)


def points_in(x, y, middle, size):
    places = np.stack([x[0].argmax(-1), y[0].argmax(-1)], -1).astype(np.float32)
    scores = np.minimum(x[0].max(-1), y[0].max(-1))
    places[scores <= 0] = -1
    points = places / np.float32(2) / np.array(SHOWN) * size + middle - size / 2
    all_points = np.column_stack([points, scores])
    neck = all_points[[5, 6]].mean(0)
    neck[2] = all_points[5, 2] > 0.3 and all_points[6, 2] > 0.3
    return np.stack([neck if i < 0 else all_points[i] for i in ORDER])


def find(detector, estimator, picture):
    frame, ratio = letterbox(picture)
    boxes, scores = people_in(detector.run(None, {"images": frame})[0], ratio)
    people = []
    for box in boxes:
        middle, size = window(box)
        people.append(points_in(*estimator.run(None, {"input": shown(picture, middle, size)}), middle, size))
    return boxes, scores, np.array(people)


# The drawing.

def draw(people, picture_size, size, faces):
    """People on black; places go through shares of the picture, as DWPose's do."""
    width, height = size
    canvas = np.zeros((height, width, 3), np.uint8)
    shares = people[..., :2] / np.array(picture_size, float)
    seen = people[..., 2] > 0.3
    exact = shares * np.array(size, float)
    for (a, b), colour in zip(LIMBS, COLOURS):
        for person, visible in zip(exact, seen):
            if visible[a] and visible[b]:
                (ax, ay), (bx, by) = person[a], person[b]
                half = int(((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5 / 2)
                angle = int(math.degrees(math.atan2(ay - by, ax - bx)))
                corners = cv2.ellipse2Poly((int((ax + bx) / 2), int((ay + by) / 2)), (half, 4), angle, 0, 360, 1)
                cv2.fillConvexPoly(canvas, corners, colour)
    canvas = (canvas * 0.6).astype(np.uint8)
    whole = exact.astype(int)
    for i, colour in enumerate(COLOURS):
        for person, visible in zip(whole, seen):
            if visible[i]:
                cv2.circle(canvas, tuple(int(v) for v in person[i]), 4, colour, thickness=-1)
    inside = seen & (whole > 0.01).all(-1)
    for first in (92, 113):
        for person, visible in zip(whole, inside):
            for bone in range(20):
                a, b = first + (0 if bone % 4 == 0 else bone), first + bone + 1
                if visible[a] and visible[b]:
                    colour = [value * 255 for value in colorsys.hsv_to_rgb(bone / 20, 1.0, 1.0)]
                    cv2.line(canvas, tuple(int(v) for v in person[a]), tuple(int(v) for v in person[b]), colour, thickness=2)
            for i in range(first, first + 21):
                if visible[i]:
                    cv2.circle(canvas, tuple(int(v) for v in person[i]), 4, (0, 0, 255), thickness=-1)
    if faces:
        for person, visible in zip(whole, inside):
            for i in range(24, 92):
                if visible[i]:
                    cv2.circle(canvas, tuple(int(v) for v in person[i]), 3, (255, 255, 255), thickness=-1)
    return canvas


# Networks of the same form.

def weight(name, shape, random, gain=1.0):
    return numpy_helper.from_array((random.normal(0, gain, shape) / np.prod(shape[1:]) ** 0.5).astype(np.float32), name)


def write_model(path, nodes, tensors, takes, gives):
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "graph", [info(*takes)], [info(*one) for one in gives], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="limn's reference")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def save_detector(path, random):
    nodes, tensors, grids = [], [], []
    add = lambda op, inputs, output, **attributes: nodes.append(helper.make_node(op, inputs, [output], **attributes)) or output
    for name, value in {"half": 0.5, "light": 1 / 128}.items():
        tensors.append(numpy_helper.from_array(np.float32(value), name))
    bright = add("Sub", [add("Mul", ["images", "light"], "scaled"), "half"], "centred")
    h = bright
    for stride, channels, side in ((8, 3, 8), (16, 6, 2), (32, 6, 2)):
        tensors.append(weight(f"patch{stride}", (6, channels, side, side), random, 6.0 if stride == 8 else 2.0))
        h = add("Tanh", [add("Conv", [h, f"patch{stride}"], f"conv{stride}", strides=[side, side])], f"tanh{stride}")
        parts = []
        for part, values, gain, bias in (("box", 4, 0.6, [0, 0, 0.8, 1.2]), ("sure", 1 + CLASSES, 2.0, [-1.9, 0.3, 0, 0])):
            tensors += [weight(f"{part}{stride}.weight", (values, 6, 1, 1), random, gain),
                        numpy_helper.from_array(np.array(bias, np.float32), f"{part}{stride}.bias")]
            out = add("Conv", [h, f"{part}{stride}.weight", f"{part}{stride}.bias"], f"{part}{stride}")
            parts.append(out if part == "box" else add("Sigmoid", [out], f"likely{stride}"))
        tensors.append(numpy_helper.from_array(np.array([1, 5 + CLASSES, -1], np.int64), f"shape{stride}"))
        grids.append(add("Reshape", [add("Concat", parts, f"all{stride}", axis=1), f"shape{stride}"], f"grid{stride}"))
    add("Transpose", [add("Concat", grids, "grids", axis=2)], "output", perm=[0, 2, 1])
    count = sum((FRAME[0] // stride) * (FRAME[1] // stride) for stride in (8, 16, 32))
    write_model(path, nodes, tensors, ("images", [1, 3, FRAME[1], FRAME[0]]), [("output", [1, count, 5 + CLASSES])])


def save_estimator(path, random):
    """Strips of patches, mixed for each point and spread over twice as many places as there are pixels."""
    tensors = [weight("patches", (8, 3, 6, 6), random, 2.0), weight("points", (133, 8, 1, 1), random, 3.0),
               numpy_helper.from_array(random.uniform(-5, 0, 133).astype(np.float32), "bias")]
    nodes = [helper.make_node("Conv", ["input", "patches"], ["conv"], strides=[6, 6]), helper.make_node("Tanh", ["conv"], ["bent"]),
             helper.make_node("Conv", ["bent", "points", "bias"], ["likely"]), helper.make_node("Sigmoid", ["likely"], ["sure"])]
    for name, axis, scale in (("simcc_x", 2, [1, 1, 12]), ("simcc_y", 3, [1, 1, 12])):
        nodes.append(helper.make_node("ReduceMax", ["sure"], [f"{name}.strip"], axes=[axis], keepdims=0))
        tensors.append(numpy_helper.from_array(np.array(scale, np.float32), f"{name}.scale"))
        nodes.append(helper.make_node("Resize", [f"{name}.strip", "", f"{name}.scale"], [name], mode="linear"))
    write_model(path, nodes, tensors, ("input", ["batch", 3, SHOWN[1], SHOWN[0]]),
                [("simcc_x", ["batch", 133, 2 * SHOWN[0]]), ("simcc_y", ["batch", 133, 2 * SHOWN[1]])])


# People to draw.

def person(random, x, y, scale, lean=0.0, hidden=0.1):
    """Somebody who stands with arms and legs apart, about 7 x `scale` high, in OpenPose's order with scores."""
    joints = np.array([[0, -3], [0, -2], [-0.8, -2], [-1.3, -1], [-1.6, 0], [0.8, -2], [1.3, -1.1], [1.2, -2], [-0.5, 0], [-0.6, 1.6], [-0.7, 3.2],
                       [0.5, 0], [0.9, 1.6], [0.8, 3.1], [-0.2, -3.2], [0.2, -3.2], [-0.45, -3.1], [0.45, -3.1]], float)
    feet = np.array([[0.9, 3.4], [1.1, 3.4], [0.7, 3.3], [-0.9, 3.4], [-1.1, 3.4], [-0.7, 3.3]])
    turns = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    face = joints[0] + np.stack([np.cos(turns) * 0.45 * (1 + np.arange(68) % 3) / 3, np.sin(turns) * 0.5 * (1 + np.arange(68) % 3) / 3], -1)
    fingers = [(0, 0)] + [(np.sin(a) * r, np.cos(a) * r) for a in np.linspace(-1, 1, 5) for r in (0.25, 0.4, 0.55, 0.7)]
    hands = [joints[i] + np.array(fingers) for i in (7, 4)]
    points = np.concatenate([joints, feet, face, *hands]) + random.normal(0, 0.06, (134, 2))
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    scores = np.where(random.random(134) < hidden, random.uniform(0, 0.29, 134), random.uniform(0.31, 1, 134))
    return np.column_stack([points @ turn.T * scale + [x, y], scores])


def save_drawn(random):
    cases = [("standing", (200, 280), (200, 280), True, [person(random, 100, 140, 36, hidden=0)]),
             ("three", (320, 240), (320, 240), True, [person(random, 60 + 95 * i, 130 + 9 * i, 22 + 8 * i, lean) for i, lean in enumerate((0.4, -0.2, 2.5))]),
             ("larger", (90, 70), (512, 384), False, [person(random, 40, 36, 9, 0.1, 0.2), person(random, 66, 30, 5, -1.4, 0)]),
             ("beyond", (150, 150), (160, 144), True, [person(random, 8, 12, 26, 0.3), person(random, 140, 150, 40, -0.5, 0.05)]),
             ("close", (256, 256), (256, 256), True, [person(random, 128, 330, 110, 0.05, 0)])]
    settings, tensors = [], {}
    for name, picture_size, size, faces, people in cases:
        people = np.array(people).astype(np.float32)
        settings.append({"name": name, "picture": picture_size, "size": size, "faces": faces})
        tensors[name] = people
        write_png(f"{name}.png", draw(people.astype(np.float64), picture_size, size, faces))
    write_json(FOLDER / "drawn.json", settings)
    save("drawn.safetensors", tensors)


def save_answers(random):
    count = sum((FRAME[0] // stride) * (FRAME[1] // stride) for stride in (8, 16, 32))
    answers = np.concatenate([random.normal(0, 0.7, (1, count, 2)), random.normal(0.8, 0.5, (1, count, 2)), random.uniform(0, 1, (1, count, 1 + CLASSES))],
                             -1).astype(np.float32)
    boxes, scores = people_in(answers, min(FRAME[0] / 160, FRAME[1] / 100))
    x, y = (random.permutation(np.linspace(-0.4, 0.9, 133 * 2 * side)).reshape(1, 133, -1).astype(np.float32) ** 3 for side in SHOWN)
    x, y = (np.where(random.random((1, 133, 1)) < 0.1, -np.abs(one), one) for one in (x, y))
    print("answers", ((answers[0, :, 4] * answers[0, :, 5]) > 0.3).sum(), "of which", len(boxes), "apart")
    save("answers.safetensors", {"answers": answers, "boxes": boxes, "scores": scores, "x": x, "y": y, "points": points_in(x, y, *window(boxes[0]))})


def save_found(random):
    detector, estimator = (onnxruntime.InferenceSession(str(FOLDER / "models" / f"{name}.onnx"), providers=["CPUExecutionProvider"])
                           for name in ("detector", "estimator"))
    tensors = {}
    for n, (height, width) in enumerate([(96, 128), (150, 110), (70, 190)]):
        noise = random.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3)).astype(np.uint8)
        picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        boxes, scores, people = find(detector, estimator, picture)
        print("found", n, len(boxes), scores[:4], "seen", (people[..., 2] > 0.3).mean())
        boxes, people = boxes[:3], people[:3]
        tensors |= {f"{n}.picture": picture, f"{n}.boxes": boxes, f"{n}.points": people}
        write_png(f"found-{n}.png", draw(people, (width, height), (width, height), True))
    save("found.safetensors", tensors)


def write_png(name, canvas):
    cv2.imwrite(str(FOLDER / name), cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))


def save(name, arrays):
    write_tensors(FOLDER / name, {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})


def main():
    fresh(FOLDER)
    (FOLDER / "models").mkdir()
    save_detector(FOLDER / "models" / "detector.onnx", np.random.default_rng(3))
    save_estimator(FOLDER / "models" / "estimator.onnx", np.random.default_rng(6))
    save_answers(np.random.default_rng(7))
    save_found(np.random.default_rng(8))
    save_drawn(np.random.default_rng(9))
    report(FOLDER)


if __name__ == "__main__":
    main()
