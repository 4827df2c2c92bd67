"""First and second moments of training images: what every preconditioner is fitted to."""

import dataclasses
import functools

import numpy as np
import scipy.fft
import scipy.linalg

# Above this many numbers an image, no covariance is held, only the power spectrum.
DENSE_LIMIT = 4096
# How many principal components a low-rank preconditioner keeps.
RANK = 512


@dataclasses.dataclass(frozen=True)
class ImageStatistics:
  """First and second moments of training images in [-1, 1].

  Attributes:
    image_shape: (H, W, C).
    mean: float64 [D], D = H·W·C.
    covariance: float64 [D, D] centred second moments, or None above DENSE_LIMIT.
    spectrum: complex128 [H, W, C, C], mean cross-channel power spectrum of the centred images, per pixel.
    colours: float64 [C, C], principal axes of a pixel's channels, in columns.
    cosine_spectrum: float64 [H, W, C], variances of the waves of an orthonormal DCT-II along these.
  """

  image_shape: tuple
  mean: np.ndarray
  covariance: np.ndarray
  spectrum: np.ndarray
  colours: np.ndarray
  cosine_spectrum: np.ndarray

  @classmethod
  def fit(cls, images: np.ndarray, dense_limit: int = DENSE_LIMIT) -> "ImageStatistics":
    """Moments of float images [N, H, W, C] in [-1, 1]. Raises ValueError on fewer than two images."""
    images = np.asarray(images, np.float64)
    if images.ndim != 4 or len(images) < 2:
      raise ValueError(f"image statistics need at least two images [N, H, W, C], got shape {images.shape}")
    shape = images.shape[1:]
    flat = images.reshape(len(images), -1)
    mean = flat.mean(0)
    centred = flat - mean
    covariance = centred.T @ centred / len(flat) if flat.shape[1] <= dense_limit else None
    waves = np.fft.fft2(centred.reshape(images.shape), axes=(1, 2))
    spectrum = np.einsum("nhwc,nhwd->hwcd", waves, waves.conj()) / (len(images) * shape[0] * shape[1])
    del waves  # it is twice as large as the images
    pixels = centred.reshape(-1, shape[2])
    _, colours = np.linalg.eigh(pixels.T @ pixels / len(pixels))
    coordinates = scipy.fft.dctn(centred.reshape(images.shape) @ colours, axes=(1, 2), norm="ortho")
    return cls(tuple(int(size) for size in shape), mean, covariance, spectrum, colours,
               np.mean(np.square(coordinates), axis=0))

  @functools.cached_property
  def leading_components(self):
    """The RANK largest principal components: (variances float64 [RANK], directions [D, RANK], mean of the others)."""
    size = len(self.mean)
    values, vectors = scipy.linalg.eigh(self.covariance, subset_by_index=[size - RANK, size - 1])
    rest = max((np.trace(self.covariance) - values.sum()) / (size - RANK), 0.0)
    return np.maximum(values, 0.0), vectors, rest

  @property
  def mean_variance(self) -> float:
    """Variance a pixel, averaged over the image."""
    return float(np.trace(self.spectrum, axis1=2, axis2=3).real.mean() / self.image_shape[2])
