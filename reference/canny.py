"""
Pictures, and the edges that OpenCV finds in them.

test/golden/canny/
  pictures.safetensors   `<n>.picture` uint8 [height, width, 3]; `<n>.colour` and `<n>.gray` uint8 [height, width] of 0 and
                         255, from red, green and blue and from their luma
  thresholds.json        [[low, high]], as many
"""

import cv2
import numpy as np
import torch

from common import GOLDEN, fresh, report, write_json, write_tensors


def gradients(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / max(width - 1, 1), y * 255 / max(height - 1, 1), (x + y) * 7 % 256], axis=-1)


def shapes(height, width, random):
    """Discs and bars of flat colours, in one of which only one colour changes."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.full((height, width, 3), random.integers(0, 256, 3), float)
    for _ in range(6):
        cy, cx, r = random.uniform(0, height), random.uniform(0, width), random.uniform(2, height / 2)
        picture[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = random.integers(0, 256, 3)
    picture[height // 2:, width // 3: width // 2, random.integers(3)] = 255
    return picture


def noisy(picture, deviation, random):
    return picture + random.normal(0, deviation, picture.shape)


def pictures(random):
    """(picture, low, high)"""
    yield np.full((9, 13, 3), 77), 100, 200
    yield np.zeros((1, 1, 3)), 0, 0
    yield random.integers(0, 256, (1, 17, 3)), 50, 100
    yield random.integers(0, 256, (19, 1, 3)), 50, 100
    yield random.integers(0, 256, (2, 2, 3)), 0, 100
    yield gradients(16, 16), 10, 40
    yield gradients(23, 31), 50, 60
    yield gradients(40, 9), 0, 0
    yield noisy(gradients(33, 27), 12, random), 100, 200
    yield noisy(gradients(33, 27), 40, random), 300, 100
    # Blocks of equal pixels, so that neighbours along and across an edge are equally strong.
    yield np.kron(random.integers(0, 2, (8, 9, 1)) * 255, np.ones((4, 4, 3))), 100, 200
    yield np.kron(random.integers(0, 2, (12, 11, 3)) * 90, np.ones((3, 3, 1))), 99.5, 180.9
    for height, width, low, high in ((48, 64, 100, 200), (64, 48, 100, 200), (51, 37, 30, 90), (37, 51, 250, 600), (29, 71, 0, 255)):
        yield shapes(height, width, random), low, high
        yield noisy(shapes(height, width, random), 6, random), low, high
    for size, low, high in ((21, 0, 0), (34, 100, 200), (47, 400, 800), (25, 900, 1500)):
        yield random.integers(0, 256, (size, size + 3, 3)), low, high
    yield random.integers(100, 104, (30, 30, 3)), 3, 9


def main():
    random = np.random.default_rng(12)
    tensors, thresholds = {}, []
    for n, (picture, low, high) in enumerate(pictures(random)):
        picture = np.clip(np.round(picture), 0, 255).astype(np.uint8)
        edges = {"colour": cv2.Canny(picture, low, high), "gray": cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), low, high)}
        tensors[f"{n}.picture"] = torch.from_numpy(picture)
        tensors |= {f"{n}.{name}": torch.from_numpy(one) for name, one in edges.items()}
        thresholds.append([low, high])
        print(n, picture.shape, low, high, {name: f"{(one > 0).mean():.2f}" for name, one in edges.items()})
    folder = fresh(GOLDEN / "canny")
    write_tensors(folder / "pictures.safetensors", tensors)
    write_json(folder / "thresholds.json", thresholds)
    report(folder)


if __name__ == "__main__":
    main()
