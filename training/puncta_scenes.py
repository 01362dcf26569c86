"""Drawn fields for the puncta network: backgrounds, puncta and what a camera makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from napari_tam.puncta.spot_input import SURROUND_PX, response

#: What is known of a punctum; the last one is `IGNORED` where nobody could say what it is.
COLUMNS = ("y_px", "x_px", "sigma_px", "ignored")
IGNORED = 1.0

#: A punctum stands out when its response is this many times the mean size of the background's ...
STANDS_OUT = 5.2
#: ... and is lost in it below this; in between the network may say what it likes.
LOST = 3.0

#: Puncta are drawn out to this at most (long over short axis).
LONGEST = 2.5

#: How often some puncta are many times as bright as the others.
TWO_POPULATIONS = 0.2


def drawn_field(
    rng: np.random.Generator, textures: list[np.ndarray], lens: Lens | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a field; returns grey values and puncta (`COLUMNS`)."""
    size = int(rng.choice([144, 160, 192, 256]))
    behind = background((size, size), rng, textures)
    width, spots, height = puncta((size, size), rng, behind)
    light = behind + render((size, size), spots, height, rng)
    if lens is not None:
        (light, behind), spots = lens.draw_out([light, behind], spots)
    camera, seed = Camera.draw(rng, light), int(rng.integers(2**31))
    image = camera.photograph(light, np.random.default_rng(seed))
    if len(spots):
        empty = camera.photograph(behind, np.random.default_rng(seed))
        spots = judged(spots, height, empty, width)
    return image, spots


def background(shape: tuple[int, int], rng: np.random.Generator, textures: list[np.ndarray]) -> np.ndarray:
    """Photons of haze, texture, cells and fibres."""
    base = between(rng, 3, 300)
    behind = np.full(shape, base, np.float32)
    if rng.random() < 0.3:
        slope = np.linspace(1, rng.uniform(1, 4), shape[1], dtype=np.float32)
        behind *= slope if rng.random() < 0.5 else slope[::-1, None]
    if rng.random() < 0.45:
        for _ in range(int(rng.integers(1, 4))):
            behind += base * rng.uniform(0.1, 2.0) * rough(shape, rng)
    if rng.random() < 0.45 and textures:
        behind += base * np.exp(rng.uniform(np.log(0.3), np.log(12))) * real(shape, rng, textures)
    if rng.random() < 0.25:
        behind += base * rng.uniform(0.3, 6) * cells(shape, rng)
    if rng.random() < 0.2:
        behind += base * rng.uniform(0.3, 6) * fibres(shape, rng)
    return np.maximum(behind, 0.5)


def rough(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Texture whose peaks belong to a continuum, at times drawn out into fibres along one axis."""
    sigma = between(rng, 1.0, 20)
    across = sigma * float(np.exp(rng.uniform(np.log(4), np.log(30)))) if rng.random() < 0.25 else sigma
    pair = (sigma, across) if rng.random() < 0.5 else (across, sigma)
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=min(pair[0], 60), sigmaY=min(pair[1], 60))
    noise /= max(float(noise.std()), 1e-6)
    if rng.random() < 0.3:
        return np.maximum(noise, 0)
    return np.maximum(1 + 0.4 * noise, 0)


def real(shape: tuple[int, int], rng: np.random.Generator, textures: list[np.ndarray]) -> np.ndarray:
    """Cut a part out of a real field without puncta, enlarge and blur it; values up to 1.5."""
    picture = textures[rng.integers(len(textures))]
    factor = rng.uniform(1.3, 3.0)
    part = [min(n, max(16, round(s / factor))) for n, s in zip(picture.shape, shape, strict=True)]
    top, left = (int(rng.integers(n - p + 1)) for n, p in zip(picture.shape, part, strict=True))
    crop = picture[top : top + part[0], left : left + part[1]]
    crop = cv2.GaussianBlur(crop, (0, 0), between(rng, 0.5, 2.0))
    crop = cv2.resize(crop, shape[::-1], interpolation=cv2.INTER_CUBIC)
    low, high = np.percentile(crop, (1, 99.5))
    return np.clip((crop - low) / max(float(high - low), 1e-6), 0, 1.5).astype(np.float32)


def cells(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Bodies with sharp or soft edges, and darker or brighter nuclei in them."""
    canvas = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 7))):
        centre = tuple(int(v) for v in rng.uniform(0, shape[0], 2))
        axes = tuple(int(v) for v in rng.uniform(10, 60, 2))
        tilt, level = float(rng.uniform(0, 180)), float(rng.uniform(0.3, 1))
        cv2.ellipse(canvas, centre, axes, tilt, 0, 360, level, -1)
        if rng.random() < 0.6:
            inner = tuple(max(2, int(a * rng.uniform(0.3, 0.5))) for a in axes)
            cv2.ellipse(canvas, centre, inner, tilt, 0, 360, level * float(rng.uniform(0.2, 1.8)), -1)
        if rng.random() < 0.3:  # a bright rim
            cv2.ellipse(canvas, centre, axes, tilt, 0, 360, level * 2, int(rng.integers(1, 4)))
    return cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.8, 4))


def fibres(
    shape: tuple[int, int],
    rng: np.random.Generator,
    many: tuple[int, int] = (2, 25),
    long: tuple[int, int] = (10, 80),
) -> np.ndarray:
    """Curved lines of any direction, one beside another or crossing: so many, and so long (in 2 px)."""
    canvas = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(*many))):
        start, angle = rng.uniform(0, shape[0], 2), rng.uniform(0, 2 * np.pi)
        bend, length = rng.normal(0, 0.03), int(rng.integers(*long))
        turn = angle + bend * np.arange(length)
        path = start + 2 * np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0)
        line = np.zeros(shape, np.float32)
        cv2.polylines(line, [np.round(path).astype(np.int32)], False, float(rng.uniform(0.2, 1)), 1)
        np.maximum(canvas, line, out=canvas)
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.8, 2.2))
    return canvas / max(float(canvas.max()), 1e-6)


def puncta(
    shape: tuple[int, int], rng: np.random.Generator, behind: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Draw puncta: their common width, a table (`COLUMNS`), and their heights in photons."""
    wide = rng.random() < 0.3
    low, high = (2.8, 6.5) if wide else (0.8, 2.8)
    sigma = between(rng, low, high)
    most = 60 if wide else 350
    count = 0 if rng.random() < 0.25 else int(np.exp(rng.uniform(0, np.log(most)))) * shape[0] ** 2 // 192**2
    places = rng.uniform(-2, shape[0] + 2, (count, 2))
    if count and rng.random() < 0.45:  # crowds: puncta gather around others
        centres = places[rng.integers(0, max(1, count // 3), count)]
        gather = rng.random(count) < rng.uniform(0.3, 1)
        offset = rng.normal(0, sigma * rng.uniform(1.5, 6), (count, 2))
        places = np.where(gather[:, None], centres + offset, places)
    widths = sigma * np.exp(rng.normal(0, 0.08, count))
    clumps = rng.random(count) < 0.03
    widths[clumps] *= rng.uniform(1.5, 3)
    level = float(np.median(behind))
    # Bright enough to stand out from shot noise, from just so to a hundred times.
    least = np.sqrt(level + 2) / sigma
    brightest = rng.choice([12, 120])
    height = least * np.exp(
        rng.uniform(np.log(3), np.log(brightest)) + rng.normal(0, rng.uniform(0.1, 0.9), count)
    )
    height[clumps] *= rng.uniform(1, 4)
    height *= two_populations(count, rng)
    spots = np.zeros((count, len(COLUMNS)), np.float32)
    spots[:, :2], spots[:, 2] = places, widths
    return sigma, merged(spots, height), height.astype(np.float32)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is anywhere between those of two others."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def two_populations(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how many times brighter puncta are than the common ones: at times some are, by far."""
    brighter = np.ones(count)
    if rng.random() < TWO_POPULATIONS:
        some = between(rng, 0.02, 0.4)
        brighter[rng.random(count) < some] = between(rng, 4, 40)
    return brighter


def merged(spots: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Mark the fainter of two puncta that nobody could tell apart as ignored.

    These lie within 1.1 sigma, or where the brighter one's light is more than the fainter one's height.
    """
    from scipy.spatial import cKDTree

    if len(spots) < 2:
        return spots
    pairs = cKDTree(spots[:, :2]).query_pairs(3.0 * float(spots[:, 2].max()), output_type="ndarray")
    faint = np.where(height[pairs[:, 0]] < height[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    bright = pairs.sum(axis=1) - faint
    squared = ((spots[faint, :2] - spots[bright, :2]) ** 2).sum(axis=1)
    over = height[bright] * np.exp(-0.5 * squared / spots[bright, 2] ** 2) > height[faint]
    near = squared < (1.1 * np.minimum(spots[faint, 2], spots[bright, 2])) ** 2
    spots[faint[near | over], 3] = -IGNORED
    return spots


def render(
    shape: tuple[int, int],
    spots: np.ndarray,
    height: np.ndarray,
    rng: np.random.Generator,
    *,
    rings: bool | None = None,
) -> np.ndarray:
    """Light of the puncta: Gaussians; wide ones are all rings (vesicles with a bright rim) or none is."""
    light = np.zeros(shape, np.float32)
    rings = rng.random() < 0.5 if rings is None else rings
    rim = rng.uniform(0.2, 0.45)
    for (y, x, sigma, _), peak in zip(spots, height, strict=True):
        reach = int(np.ceil(4.5 * sigma)) + 1
        y0, y1 = max(0, int(y) - reach), min(shape[0], int(y) + reach + 2)
        x0, x1 = max(0, int(x) - reach), min(shape[1], int(x) + reach + 2)
        if y1 <= y0 or x1 <= x0:
            continue
        squared = (np.arange(y0, y1)[:, None] - y) ** 2 + (np.arange(x0, x1)[None, :] - x) ** 2
        if rings and sigma > 1.6:
            shape_of = np.exp(-0.5 * ((np.sqrt(squared) - 1.3 * sigma) / max(rim * sigma, 0.9)) ** 2)
        else:
            shape_of = np.exp(-0.5 * squared / sigma**2)
        light[y0:y1, x0:x1] += peak * shape_of
    return light


def judged(spots: np.ndarray, height: np.ndarray, empty: np.ndarray, width: float) -> np.ndarray:
    """Drop the puncta that are lost in their surroundings, and mark the doubtful ones as ignored.

    `empty` is the picture without puncta, in photons: its response at the puncta's width says how
    much a bump of that size means there.
    """
    variance = spots[:, 2] ** 2
    own = height * 2 * variance / (variance + width**2) ** 2
    size = np.abs(response(empty, width))
    near, around = (cv2.blur(size, (edge, edge), borderType=cv2.BORDER_REFLECT) for edge in (33, SURROUND_PX))
    at = np.clip(np.round(spots[:, :2]).astype(int), 0, np.array(empty.shape) - 1)
    contrast = own / np.maximum(1.25 * np.maximum(near, around)[at[:, 0], at[:, 1]], 1e-9)
    spots[:, 3] = np.where((contrast < STANDS_OUT) | (spots[:, 3] < 0), IGNORED, 0)
    return spots[contrast >= LOST]


def filtered(image: np.ndarray, spots: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Smooth a picture as people do before they look at it: a Gaussian or a median filter."""
    if rng.random() < 0.4:
        return cv2.medianBlur(image, 3), spots
    by, spots = rng.uniform(0.4, 1.2), spots.copy()
    spots[:, 2] = np.hypot(spots[:, 2], by)
    return cv2.GaussianBlur(image, (0, 0), by), spots


@dataclass(frozen=True)
class Lens:
    """A lens, or a stage that drifts, which draws all puncta out in one direction."""

    ratio: float  # long axis over short axis of a punctum
    angle: float  # of the long axis, radians

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Lens:
        """Draw one: puncta up to `LONGEST` times as long as wide, in any direction."""
        return cls(between(rng, 1.2, LONGEST), float(rng.uniform(0, np.pi)))

    def draw_out(self, pictures: list[np.ndarray], spots: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Stretch pictures of light (before noise) around their middle, and the puncta in them."""
        shape = pictures[0].shape
        middle = (np.array(shape) - 1) / 2
        along = np.array([np.sin(self.angle), np.cos(self.angle)])  # y, x
        matrix = np.eye(2) + (self.ratio - 1) * np.outer(along, along)
        # OpenCV has x before y.
        swapped = matrix[::-1, ::-1]
        move = middle[::-1] - swapped @ middle[::-1]
        stretched = [
            np.maximum(
                cv2.warpAffine(
                    picture,
                    np.column_stack([swapped, move]),
                    shape[::-1],
                    flags=cv2.INTER_CUBIC,
                    borderMode=cv2.BORDER_REFLECT,
                ),
                0,
            )
            for picture in pictures
        ]
        spots = spots.copy()
        spots[:, :2] = (spots[:, :2] - middle) @ matrix.T + middle
        spots[:, 2] *= np.sqrt(self.ratio)
        return stretched, spots


@dataclass(frozen=True)
class Camera:
    """A camera, and what microscopes and people do to its pictures afterwards; photons in, photons out."""

    read_noise: float
    blur: float
    binned: bool
    resized: float
    sharpened: float
    stripes: float
    median: bool
    levels: float  # grey levels that the brightest light gets; 0: as many as there are photons
    jpeg: int  # quality; 0: none
    top: float  # the brightest light

    @classmethod
    def draw(cls, rng: np.random.Generator, light: np.ndarray) -> Camera:
        """Draw a camera for a picture of this light; a good half of them do nothing but count."""
        noise, plain = float(np.sqrt(np.median(light))), rng.random() < 0.5

        def sometimes(chance: float, low: float, high: float) -> float:
            return float(rng.uniform(low, high)) if not plain and rng.random() < chance else 0.0

        pressed = sometimes(0.3, 45, 96)
        return cls(
            read_noise=between(rng, 0.5, 4),
            blur=sometimes(0.4, 0.4, 1.6),
            binned=sometimes(0.2, 1, 2) > 0,
            resized=sometimes(0.3, 0.5, 1.6),
            sharpened=sometimes(0.15, 0.3, 1.5),
            stripes=sometimes(0.2, 0.1, 1.0) * noise,
            median=sometimes(0.1, 1, 2) > 0,
            levels=float(rng.uniform(60, 255)) if pressed else sometimes(0.3, 60, 255),
            jpeg=int(pressed),
            top=float(np.percentile(light, 99.9)) + 2 * noise,
        )

    def photograph(self, photons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take a picture."""
        height, width = photons.shape
        image = rng.poisson(photons).astype(np.float32)
        image += rng.normal(0, self.read_noise, photons.shape).astype(np.float32)
        if self.binned:
            image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        if self.resized:
            size = (round(width * self.resized), round(height * self.resized))
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        if self.stripes:
            image += rng.normal(0, self.stripes, (height, 1)).astype(np.float32)
        if self.blur:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.sharpened:
            image += self.sharpened * (image - cv2.GaussianBlur(image, (0, 0), 1.5))
        if self.median:
            image = cv2.medianBlur(image, 3)
        if self.levels:
            grey = np.clip(np.round(image * self.levels / self.top), 0, 255)
            if self.jpeg:
                _, data = cv2.imencode(".jpg", grey.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, self.jpeg])
                grey = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
            image = grey.astype(np.float32) * (self.top / self.levels)
        return image
