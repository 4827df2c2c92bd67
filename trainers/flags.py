"""Every flag of `trainers/main.py`, and how flags become a configuration. No TensorFlow: bad input fails fast."""

import dataclasses
from typing import Dict, List

from absl import flags

from stic_tf import config as config_lib
from stic_tf import registries
from stic_tf import run_folder
from stic_tf import zoo
from stic_tf.datasets import catalog

MODES = ("train", "evaluate", "sample")
STRATEGIES = ("auto", "one", "mirrored", "multi_worker")
_HELP = {
    "model": "Which system: " + ", ".join(registries.SYSTEMS) + ".",
    "network": "One of " + ", ".join(registries.NETWORKS) + ", or auto: the system's own, for stic small below 32 "
               "pixels and wide_resnet from there.",
    "width": "Channels of the small and the attentive network, and of the first resolution of the others.",
    "depth": "Depth of the wide residual network, 6n + 4.",
    "widen": "Width factor of the wide residual network.",
    "blocks": "energy network, unets: residual blocks a resolution, or those of each resolution: 1,2,2.",
    "attention_side": "energy network, unets: the widest grid, in positions a side, that attends; 0 for none.",
    "tile_grid": "Tiles a side of an attentive model's canvas; must divide it, and be a resolution of attentive_unet.",
    "view_size": "How many numbers of a linear view of the whole canvas each class of an attentive model reads "
                 "beside its tiles; 0 for none.",
    "drawing": "How a fresh drawing is made: whole (whole-image steps), strokes (tile by tile, where attention looks), "
               "or auto: strokes for --model=attentive. With --model=score strokes need a network that attends, and "
               "are --corrector_steps at each level. Training takes whole-image steps.",
    "sweep_every": "Every n-th stroke goes to the tiles in turn; 0 for none, 1 for all.",
    "gram_rank": "Random directions that the class statistics of the Gram term are kept on; 0 for whole matrices.",
    "sampler": "grmala; unadjusted and jem_sgld are there to compare with.",
    "step_size": "h at the start: drift h, noise sqrt(2h), in whitened coordinates. It adapts in training and burn-in.",
    "temperature": "T; 1 is the model's own distribution.",
    "guidance": "Weight of f_w - log sum exp f in drawing: more is more typical of the class; 0 for none, -1 for the "
                "class-free density.",
    "num_steps": "Steps of a fresh drawing, burn-in included.",
    "burn_in_fraction": "Share of a drawing's steps in which h adapts.",
    "training_steps": "Steps a persistent chain makes in each training update.",
    "gram_weight": "Weight of the feature-Gram term in the target.",
    "preconditioner": "gram (dense up to 1024 numbers an image, low-rank up to 4096, spectral above), dense, low_rank, "
                      "spectral, identity, pixels (jem_sgld only).",
    "reference": "The blank canvas as a measure: gaussian, or flat.",
    "target_acceptance": "Acceptance probability that h adapts to.",
    "num_passes": "Passes of recurrent self-analysis.",
    "updates_per_pass": "Weight updates in a pass.",
    "batch_size": "Images a stream in an update.",
    "classification_ratio": "Images that an update classifies, in each of the streams that are classified alone, for "
                            "each image whose density it learns.",
    "loss": "How fakes are pushed down: contrastive or logistic.",
    "fakes_from": "What draws a pass's fakes: previous_pass (the classifier before it, from blank canvases), current "
                  "(chains that persist), canvas (chains that always begin blank), none, or auto (the system's own).",
    "noisy_weight": "Weight of the cross-entropy of real images in the smoothing noise.",
    "denoising_weight": "Weight of the error of the jump that renders, on real images in the smoothing noise.",
    "fake_weight": "Weight of the loss on fakes. With --model=score, where it teaches a head alone, all but 0 are the "
                   "same.",
    "energy_decay": "Weight of the squared energies in the contrastive loss.",
    "soft_fraction": "Share of the chains that draw mixtures of two classes.",
    "past_fraction": "Share of an update's fakes that come from past passes.",
    "pool_capacity": "Fakes of past passes that are kept.",
    "chains": "Persistent chains.",
    "restart_probability": "Chance that a chain starts from a blank canvas at an update.",
    "noise_start": "Smoothing noise s of the first pass, in [-1, 1] pixel units.",
    "noise_end": "Smoothing noise s of the last passes.",
    "noise_hold": "Share of the passes, at the end, that stay at --noise_end.",
    "optimizer": "adam, or muon: the kernels of convolutions move by equally much in all their directions.",
    "learning_rate": "Learning rate in the first pass; falls as a half cosine.",
    "learning_rate_end": "Share of --learning_rate that it falls towards; 1 holds it.",
    "weight_decay": "Share, times the learning rate, that an update takes from each kernel and table (decoupled).",
    "ema_decay": "Decay of the weights' moving average, which draws and answers.",
    "mixup_alpha": "Mixup weights are Beta(alpha, alpha); 0 for none.",
    "divergence_bound": "A logit beyond this rolls the training back to the last checkpoint.",
    "mixed_precision": "Convolutions of the trained network compute in bfloat16; weights, losses and the average, "
                       "which draws, stay float32.",
    "jit": "Compile training with XLA, for GPUs: the chains, or with --model=score the whole update.",
    "sigma_min": "score: the last noise level of a drawing, and the least that is trained.",
    "sigma_max": "score: the first noise level of a drawing, and the largest that is trained.",
    "rho": "score: how the --num_steps levels lie between the two (EDM); larger puts more of them low.",
    "predictor": "score: what carries a drawing from level to level: heun (two evaluations a level), dpm_solver_pp "
                 "(one), or none, which leaves that to the corrector.",
    "corrector_steps": "score: GRMALA steps at each level, or strokes.",
    "guidance_from": "score: the least noise level at which guidance holds.",
    "guidance_to": "score: the largest noise level at which guidance holds.",
    "correction": "score: weight of the real/fake head's log density ratio in drawing; 0 for none. Networks energy "
                  "and unet have the head.",
    "correction_from": "score: the least noise level at which the correction holds.",
    "correction_to": "score: the largest noise level at which the correction holds.",
    "head_passes": "score: the last passes, in which the real/fake head alone learns, of drawings of a network that "
                   "stands still; 0 for it to learn in all passes, beside the rest. Networks energy and unet have it.",
    "noise_mean": "score: mean of the logarithm of the training noise levels.",
    "noise_std": "score: standard deviation of the logarithm of the training noise levels.",
    "cross_entropy_weight": "score: weight of the cross-entropy of the denoised images beside the denoising loss.",
    "mixup_weight": "score: weight of the cross-entropy of the mixup images, augmented ones.",
    "mixup_noise_mean": "score: mean of the logarithm of the mixup images' noise levels.",
    "clip_norm": "score: the gradient's largest norm.",
    "gaussian": "score: what all energies have in common: isotropic (EDM's); cosine (a variance for each wave of "
                "the discrete cosine transform), which photographs gain by; or point (none: the network predicts the "
                "image itself), for classes of one image each, whose energies are beyond the usual --divergence_bound.",
    "mirrored_answer": "score: classify by the mean of the answers to an image and to its mirror image, at twice the "
                       "cost.",
}
# What a run is made with: a run folder belongs to one setting of these.
RUN_FLAGS = ["dataset", "init_from", "train_images", "seed", "num_replicas", "augment", "cutout", "cutmix",
             "inception_weights", "num_samples", "pass_samples", "pass_steps"]

# Of --mode=sample alone.
SAMPLING_FLAGS = ("classes", "class_weights", "num_images", "out", "scale", "record_drawing")

# What makes the model what it is, and what only its training reads: neither can be asked of a run that is there.
MODEL_FLAGS = ("dataset", "model", "gaussian", "preconditioner", "mirrored_answer", "reference", "gram_weight",
               "gram_rank", "target_acceptance",
               *(field.name for field in dataclasses.fields(config_lib.NetworkConfig)))
TRAINING_FLAGS = ("train_images", "augment", "cutout", "cutmix", "init_from", "pass_samples", "pass_steps",
                  *(name for name in config_lib.RunConfig().flat()
                    if name not in (*config_lib.DRAWING_SETTINGS, *MODEL_FLAGS, "jit", "mixed_precision")))


def _define() -> None:
  define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, str: flags.DEFINE_string}
  for name, default in config_lib.RunConfig().flat().items():
    define[type(default)](name, default, _HELP[name])
  flags.DEFINE_string("mode", "train", "train (and evaluate at the end), evaluate, or sample.")
  flags.DEFINE_string("run_dir", "", "Folder of the run; empty for runs/<name of the flagfile's dataset and model>.")
  flags.DEFINE_string("dataset", "digits", "digits comes embedded; the others through TFDS (docs/dataflow.md).")
  flags.DEFINE_string("data_dir", None, "Folder of prepared TFDS datasets; TFDS' own default if not given.")
  flags.DEFINE_bool("augment", True, "Shift and rotate (or crop and flip) the images of the classification "
                    "streams, and mirror those of the generative one where that shows their class still.")
  flags.DEFINE_float("cutout", 0.0, "Side of a square that is hidden in each image of the classification streams, as a "
                                    "share of the image's; 0 for none.")
  flags.DEFINE_float("cutmix", 0.0, "Share of the mixup stream's images that get a rectangle of another image in place "
                                    "of a mixture with it.")
  flags.DEFINE_integer("train_images", 0, "Train on so many images, as many of each class, by --seed; 0 for all.")
  flags.DEFINE_string("init_from", None, "Run folder, or model of the zoo, with whose weights the training begins.")
  flags.DEFINE_integer("seed", 0, "Seed of everything random; in sample and evaluate mode that of the drawings.")
  flags.DEFINE_integer("num_replicas", 0, "Replicas for training and sampling, of all workers together: GPUs, else "
                                          "logical CPUs; 0 for all GPUs or one CPU.")
  flags.DEFINE_string("strategy", "auto", "train: one (a device), mirrored (this machine's), multi_worker (those of "
                                          "the workers in TF_CONFIG), or auto: what there is.")
  flags.DEFINE_float("worker_timeout", 300.0, "train: seconds that a start waits for the other workers.")
  flags.DEFINE_integer("updates_per_call", 1, "Updates that one call of the compiled training makes; its logs are "
                                              "fetched once. Never changes a number.")
  flags.DEFINE_float("checkpoint_minutes", 10.0, "Minutes between checkpoints within a pass; 0 for none.")
  flags.DEFINE_integer("num_samples", 1000, "Fresh drawings that the final metrics are computed on.")
  flags.DEFINE_integer("pass_samples", 500, "Fresh drawings that a pass's metrics are computed on; "
                       "0: none, and the judge is trained when the passes have ended.")
  flags.DEFINE_integer("pass_steps", 150, "Steps of those drawings.")
  flags.DEFINE_string("inception_weights", None, "File of Keras InceptionV3 weights, to take features from instead of "
                                                 "the judge network.")
  flags.DEFINE_string("cache_dir", "~/.cache/stic_tf", "Where trained judge networks are kept.")
  flags.DEFINE_string("profile_steps", None, "a,b: profile updates a to b of this command into tensorboard/.")
  flags.DEFINE_string("classes", None, "sample: classes to draw, by number or name, separated by commas.")
  flags.DEFINE_string("class_weights", None, "sample: a soft class, as 0:0.5,8:0.5.")
  flags.DEFINE_integer("num_images", 16, "sample: how many drawings.")
  flags.DEFINE_string("out", None, "sample: FILE.png or FILE.npz.")
  flags.DEFINE_integer("scale", 0, "sample: pixels a side for each of a drawing; 0 for as many as show it.")
  flags.DEFINE_string("record_drawing", None, "sample: FILE.gif that shows how the drawings came about.")


_define()


def to_config(values) -> config_lib.RunConfig:
  """Validates the flags of a run.

  Args:
    values: the flag values (attributes by name).

  Raises:
    ConfigError: a value out of range, or in a training a flag that the chosen system or network does not read.
  """
  config_lib.require(values.mode in MODES, "mode", values.mode, "must be one of " + ", ".join(MODES))
  config_lib.require(values.num_samples >= 20, "num_samples", values.num_samples, "must be at least 20")
  config_lib.require(values.pass_samples == 0 or values.pass_samples >= 20, "pass_samples", values.pass_samples,
                     "must be at least 20, or 0")
  for name in ("pass_steps", "updates_per_call"):
    config_lib.require(getattr(values, name) >= 1, name, getattr(values, name), "must be at least 1")
  config_lib.require(values.checkpoint_minutes >= 0, "checkpoint_minutes", values.checkpoint_minutes,
                     "must be at least 0")
  config_lib.require(0 <= values.seed < 2 ** 31, "seed", values.seed, "must lie in [0, 2^31)")
  config_lib.require(0 <= values.cutout < 1, "cutout", values.cutout, "must lie in [0, 1)")
  config_lib.require(values.augment or not values.cutout, "cutout", values.cutout, "needs --augment")
  config_lib.require(0 <= values.cutmix <= 1, "cutmix", values.cutmix, "must lie in [0, 1]")
  config_lib.require(values.num_replicas >= 0, "num_replicas", values.num_replicas, "must be at least 0")
  config_lib.require(values.strategy in STRATEGIES, "strategy", values.strategy,
                     "must be one of " + ", ".join(STRATEGIES))
  config_lib.require(values.worker_timeout > 0, "worker_timeout", values.worker_timeout, "must be above 0")
  profile_window(values)
  for name in SAMPLING_FLAGS:
    config_lib.require(values.mode == "sample" or not values[name].present, name, getattr(values, name),
                       f"is of --mode=sample, and this is --mode={values.mode}")
  spec = catalog.lookup(values.dataset)
  names = list(config_lib.RunConfig().flat())
  if values.mode != "train":
    # Beside what was not given stands what the run was made with.
    made_with = run_folder.RunFolder(zoo.find(values.run_dir)).settings() if values.run_dir else {}
    # Without it they are checked when the weights have been read, which know it too.
    given = {name: getattr(values, name) for name in config_lib.DRAWING_SETTINGS if made_with and values[name].present}
    try:
      config = config_lib.RunConfig.of({**{name: made_with[name] for name in names if name in made_with}, **given})
    except TypeError as problem:
      raise config_lib.ConfigError(f"--run_dir={values.run_dir}: its settings.json is damaged") from problem
  else:
    config = config_lib.RunConfig.of({name: getattr(values, name) for name in names})
    replicas = max(1, values.num_replicas)
    config_lib.require(values.batch_size % replicas == 0, "batch_size", values.batch_size,
                       f"must be a multiple of --num_replicas={replicas}")
    config.check_read([name for name in names if values[name].present], spec.image_shape)
    config_lib.check_classes(config.training, spec.num_classes)
    config_lib.require(not values.mirrored_answer or spec.flip, "mirrored_answer", True,
                       f"must be off with --dataset={values.dataset}, where a mirror image shows another thing")
  return config


def profile_window(values):
  """--profile_steps as (first, last), or None. Raises ConfigError where it is not two rising numbers."""
  if not values.profile_steps:
    return None
  parts = values.profile_steps.split(",")
  numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
  good = len(parts) == len(numbers) == 2 and 1 <= numbers[0] < numbers[1]
  config_lib.require(good, "profile_steps", values.profile_steps, "must be two rising numbers a,b from 1 on")
  return numbers[0], numbers[1]


def run_settings(values, config: config_lib.RunConfig) -> Dict[str, object]:
  """The settings a run folder belongs to, by flag name: those that its system reads."""
  image_shape = catalog.lookup(values.dataset).image_shape
  own = {name: value for name, value in config.flat().items() if config.is_read(name, image_shape)}
  return dict(sorted({**{name: getattr(values, name) for name in RUN_FLAGS}, **own}.items()))


def overrides(values, settings: Dict[str, object], names) -> Dict[str, object]:
  """Of the flags `names`, those that were given and differ from the settings that a run was made with."""
  return {name: getattr(values, name) for name in names
          if values[name].present and (name not in settings or getattr(values, name) != settings[name])}


def run_dir_of(values) -> str:
  """--run_dir, or the default of its dataset and model where none is given."""
  return values.run_dir or run_folder.default_path(values.dataset, values.model)


def flagfile_lines(settings: Dict[str, object], data_dir) -> List[str]:
  """A flagfile that reproduces the run of some settings."""
  lines = []
  for name, value in {**settings, "data_dir": data_dir}.items():
    if isinstance(value, bool):
      lines.append(f"--{'' if value else 'no'}{name}")
    elif value is not None:
      lines.append(f"--{name}={value}")
  return lines
