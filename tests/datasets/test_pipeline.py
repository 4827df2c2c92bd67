"""The streams: every batch a function of (seed, number), every image once an epoch, the generative one untouched."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from stic_tf.config import ConfigError
from stic_tf.datasets import dataset as dataset_module
from stic_tf.datasets import pipeline
from stic_tf.datasets import tfds_reader
from stic_tf.datasets.epoch_order import shuffled_indices
from stic_tf.datasets.epoch_order import stream_keys
from stic_tf.datasets.pixel_range import to_uint8
from stic_tf.datasets.share import Share


@pytest.fixture(scope="module")
def digits():
  return pipeline.load("digits")


@pytest.fixture(params=["held", "streamed"])
def mnist(request, small_mnist, monkeypatch):
  """180 training images, image i filled with the value i; held in memory, and streamed from three files."""
  if request.param == "streamed":
    monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 0)
  loaded = pipeline.load("mnist", small_mnist, download=False)
  assert loaded.in_memory == (request.param == "held")
  return loaded


def values(dataset, count, batch_size=32, seed=1, start=0):
  """Which images the generation stream shows, as the values small_mnist fills them with: [count, batch_size]."""
  stream = pipeline.generation_stream(dataset, batch_size, seed, start=start)
  return np.stack([to_uint8(images).numpy()[:, 0, 0, 0] for images, _ in stream.take(count)])


def flattened(stream, count):
  return [np.asarray(part) for element in stream.take(count) for part in tf.nest.flatten(element)]


def assert_same(first, second):
  assert len(first) == len(second) > 0
  for one, other in zip(first, second):
    np.testing.assert_array_equal(one, other)


def test_shapes_and_types(digits):
  element = next(iter(pipeline.classification_stream(digits, 5, seed=1)))
  assert set(element) == {"real_images", "real_labels", "mixup_images", "mixup_labels"}
  for kind in ("real", "mixup"):
    assert element[f"{kind}_images"].shape == (5, 8, 8, 1) and element[f"{kind}_images"].dtype == tf.float32
    assert element[f"{kind}_labels"].shape == (5, 10) and element[f"{kind}_labels"].dtype == tf.float32
  images, labels = next(iter(pipeline.generation_stream(digits, 5, seed=1)))
  assert images.shape == (5, 8, 8, 1) and images.dtype == tf.float32
  assert labels.shape == (5,) and labels.dtype == tf.int32


def test_batch_shapes_are_static(mnist):
  spec = pipeline.classification_stream(mnist, 4, seed=1).element_spec
  assert spec["real_images"].shape == (4, 28, 28, 1) and spec["mixup_labels"].shape == (4, 10)


def test_same_seed_same_batches_whatever_the_global_seed(mnist):
  tf.random.set_seed(1)
  first = flattened(pipeline.classification_stream(mnist, 16, seed=3), 4)
  tf.random.set_seed(2)
  assert_same(first, flattened(pipeline.classification_stream(mnist, 16, seed=3), 4))


def test_another_seed_another_order_and_another_augmentation(mnist):
  assert (values(mnist, 2, seed=3) != values(mnist, 2, seed=4)).mean() > 0.9


def test_a_stream_iterated_twice_starts_over(mnist):
  stream = pipeline.generation_stream(mnist, 16, seed=3)
  assert_same(flattened(stream, 2), flattened(stream, 2))


@pytest.mark.parametrize("start", [4, 13])  # 180 images in batches of 32: within and beyond the first epoch
def test_a_resumed_stream_continues_the_unbroken_one(mnist, start):
  for make in (pipeline.classification_stream, pipeline.generation_stream):
    unbroken = flattened(make(mnist, 32, seed=5).skip(start), 2)
    assert_same(unbroken, flattened(make(mnist, 32, seed=5, start=start), 2))


def test_every_image_comes_once_an_epoch_and_validation_never(mnist):
  train = sorted(mnist.arrays("train", 180)[0][:, 0, 0, 0])
  shown = values(mnist, 18, batch_size=20).reshape(2, 180)  # two epochs
  for epoch in shown:
    assert sorted(epoch) == train
  assert (shown[0] != shown[1]).mean() > 0.9


def test_batches_cross_the_border_of_an_epoch(mnist):
  shown = values(mnist, 45, batch_size=28).ravel()
  if mnist.in_memory:  # 1260 = 7 x 180 images
    assert set(collections.Counter(shown).values()) == {7}
    return
  # 14 lanes of 12: of 180 images 12 are left out, others each epoch, and none comes twice.
  epochs = [set(epoch) for epoch in shown[:7 * 168].reshape(7, 168)]
  assert all(len(epoch) == 168 for epoch in epochs)
  assert len(set.union(*epochs)) == 180


@pytest.mark.parametrize("of", [2, 8])
def test_the_parts_of_a_batch_are_the_batch(mnist, of):
  """Each worker reads its rows; put together they are what one worker has, mixtures with a neighbour's row as well."""
  for make in (pipeline.classification_stream, pipeline.generation_stream):
    whole = flattened(make(mnist, 16, seed=5, start=10), 3)
    parts = [flattened(make(mnist, 16, seed=5, start=10, share=Share(number, of)), 3) for number in range(of)]
    for place, batch in enumerate(whole):
      assert parts[0][place].shape[0] == 16 // of
      np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), batch)


def test_a_part_opens_no_more_files_than_its_lanes_need(small_mnist, monkeypatch):
  """Of three files a worker of eight reads one or two, and after a resume none that lies before."""
  monkeypatch.setattr(dataset_module, "MEMORY_LIMIT", 0)
  opened = []
  records = tfds_reader._records
  monkeypatch.setattr(tfds_reader, "_records", lambda path, skip, take: tf.data.Dataset.from_tensors(
      tf.py_function(lambda name: opened.append(name.numpy()) or name, [path], tf.string)).flat_map(
          lambda _: records(path, skip, take)))
  loaded = pipeline.load("mnist", small_mnist, download=False)
  for share, start in ((Share(), 0), (Share(3, 8), 0), (Share(3, 8), 1)):
    opened.clear()
    # Lanes of 11 images, of which the second batch takes the sixth and more.
    next(iter(pipeline.generation_stream(loaded, 16, seed=5, start=start, share=share)))
    files = {name for name in opened}
    assert len(files) == 3 if share.of == 1 else 1 <= len(files) <= 2


def test_labels_belong_to_their_images(mnist):
  for images, labels in pipeline.generation_stream(mnist, 32, seed=1).take(6):
    np.testing.assert_array_equal(to_uint8(images).numpy()[:, 0, 0, 0] % 10, labels.numpy())
  stream = pipeline.classification_stream(mnist, 32, seed=1, augment=False)
  for element in stream.take(6):
    np.testing.assert_array_equal(to_uint8(element["real_images"]).numpy()[:, 0, 0, 0] % 10,
                                  element["real_labels"].numpy().argmax(1))


def test_half_of_what_may_be_mirrored_is_mirrored_in_the_generative_stream(digits):
  """4,000 images of which half are expected, with a standard error of 0.8 in a hundred; digits are never mirrored."""
  images, labels = digits.arrays("train")
  spec = dataclasses.replace(digits.spec, flip=True)
  stored = {image.tobytes() for image in images}
  mirrored = {image[:, ::-1].tobytes() for image in images} - stored
  stream = pipeline.generation_stream(dataset_module.InMemoryDataset(spec, {"train": (images, labels)}), 100, seed=1)
  shown = [image.tobytes() for batch, _ in stream.take(40) for image in to_uint8(batch).numpy()]
  assert all(image in stored or image in mirrored for image in shown)
  assert np.mean([image in mirrored for image in shown]) == pytest.approx(0.5, abs=0.04)


def test_without_augmentation_no_image_of_either_stream_is_mirrored(digits):
  images, labels = digits.arrays("train")
  spec, stored = dataclasses.replace(digits.spec, flip=True), {image.tobytes() for image in images}
  streams = pipeline.update_stream(dataset_module.InMemoryDataset(spec, {"train": (images, labels)}), 100, seed=1,
                                   augment=False)
  for batch in streams.take(4):
    for name in ("generative_images", "real_images"):
      assert all(image.tobytes() in stored for image in to_uint8(batch[name]).numpy())


def test_the_generative_stream_shows_stored_images_only(digits):
  stored = {image.tobytes() for image in digits.arrays("train")[0]}
  for images, _ in pipeline.generation_stream(digits, 64, seed=1).take(20):
    assert all(image.tobytes() in stored for image in to_uint8(images).numpy())


def test_augmentation_can_be_switched_off_and_is_on_by_default(digits):
  stored = {image.tobytes() for image in digits.arrays("train")[0]}

  def share_stored(**settings):
    element = next(iter(pipeline.classification_stream(digits, 64, seed=1, **settings)))
    return np.mean([image.tobytes() in stored for image in to_uint8(element["real_images"]).numpy()])

  assert share_stored(augment=False) == 1.0
  assert share_stored() < 0.1


def test_mixup_stream(digits):
  element = next(iter(pipeline.classification_stream(digits, 64, seed=1, mixup_alpha=1.0)))
  assert set(np.unique(element["real_labels"])) == {0.0, 1.0}
  np.testing.assert_allclose(element["mixup_labels"].numpy().sum(1), 1.0, rtol=1e-5)
  assert (element["mixup_labels"].numpy().max(1) < 0.999).mean() > 0.5
  unmixed = next(iter(pipeline.classification_stream(digits, 64, seed=1, mixup_alpha=0)))
  np.testing.assert_array_equal(unmixed["mixup_images"], unmixed["real_images"])
  np.testing.assert_array_equal(unmixed["mixup_labels"], unmixed["real_labels"])


def test_the_two_streams_of_one_seed_do_not_walk_in_step(mnist):
  generation = values(mnist, 3, seed=1)
  stream = pipeline.classification_stream(mnist, 32, seed=1, augment=False)
  classification = np.stack([to_uint8(e["real_images"]).numpy()[:, 0, 0, 0] for e in stream.take(3)])
  assert (generation != classification).mean() > 0.9


def test_a_batch_may_be_larger_than_the_dataset(mnist):
  assert set(collections.Counter(values(mnist, 1, batch_size=360).ravel()).values()) == {2}


@pytest.mark.parametrize("settings, flag", [
    ({"batch_size": 0}, "batch_size"), ({"mixup_alpha": -0.1}, "mixup_alpha"),
    ({"mixup_alpha": float("nan")}, "mixup_alpha"), ({"cutout": 1.0}, "cutout"),
    ({"cutout": 0.25, "augment": False}, "cutout"), ({"cutout": 0.125}, "cutout"),
    ({"cutmix": -0.1}, "cutmix"), ({"cutmix": float("nan")}, "cutmix")])
def test_settings_out_of_range_name_their_flag(digits, settings, flag):
  with pytest.raises(ConfigError, match=f"^{flag}="):
    pipeline.classification_stream(digits, **{"batch_size": 4, "seed": 1, **settings})


@pytest.mark.parametrize("seed", [-1, 0, 2**31, 2**70])
def test_any_integer_is_a_seed(digits, seed):
  assert len(flattened(pipeline.classification_stream(digits, 4, seed=seed), 1)) == 4
  assert all(0 <= key < 2**63 for key in stream_keys(seed, 0, 5))


@pytest.mark.parametrize("num_images", [1, 2, 1120, 55000])
def test_the_order_of_an_epoch_is_a_permutation(num_images):
  positions = tf.range(num_images, 2 * num_images, dtype=tf.int64)
  np.testing.assert_array_equal(np.sort(shuffled_indices(positions, num_images, key=9)), np.arange(num_images))


def test_the_order_looks_random():
  """Correlations within and between epochs stay within 5 standard errors; TensorFlow's default of 4 rounds fails."""
  num_images = 55000
  for key in range(5):
    first, second = (np.asarray(shuffled_indices(tf.range(epoch * num_images, (epoch + 1) * num_images, dtype=tf.int64),
                                                 num_images, key)) for epoch in (0, 1))
    bound = 5 / np.sqrt(num_images)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < bound
    assert abs(np.corrcoef(first, second)[0, 1]) < bound


def test_more_images_can_be_classified_than_are_drawn_from(digits):
  """Each stream is what it is alone, of so many images."""
  streams = next(iter(pipeline.update_stream(digits, 4, seed=1, ratio=3)))
  classified = next(iter(pipeline.classification_stream(digits, 12, seed=1)))
  real, labels = next(iter(pipeline.generation_stream(digits, 4, seed=1)))
  expected = {**classified, "generative_images": real, "generative_labels": labels}
  assert set(streams) == set(expected)
  assert_same([streams[name] for name in expected], list(expected.values()))
  with pytest.raises(ConfigError, match="classification_ratio=0: must be at least 1"):
    pipeline.update_stream(digits, 4, seed=1, ratio=0)
