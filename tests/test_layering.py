"""The rules of the house, read off the sources: who may import whom, no flags in the library, sizes of files.

The order of the folders is stated once, in LAYERS. The BUILD files state the same arrows, and a test here compares the
two, so that a sandboxed Bazel test fails on the same import that this test refuses.
"""

import ast
import io
import pathlib
import tokenize

import pytest

from stic_tf import registries

# resolve(): under Bazel this file is a link into the checkout, and the checkout is what these tests are about.
ROOT = pathlib.Path(__file__).resolve().parents[1]

# Data flows one way: each may import what is named behind it. "base" is the modules that lie in stic_tf/ itself, config
# and its like; "api" is drawing_classifier.py, which talks to a system by its interface alone. mcmc/ and diffusion/
# take functions, never a network.
ALLOWED = {
    "base": set(),
    "datasets": {"base"},
    "networks": {"base", "datasets"},
    "preconditioners": {"base"},
    "targets": {"base", "preconditioners"},
    "mcmc": {"base"},
    "diffusion": {"base", "targets", "mcmc"},
    "training": {"base", "datasets"},
    "api": {"base", "datasets"},
    "systems": {"base", "datasets", "networks", "preconditioners", "targets", "mcmc", "diffusion", "training", "api"},
    "metrics": {"base", "datasets"},
}
LAYERS = tuple(ALLOWED)
FOLDERS = tuple(layer for layer in LAYERS if layer not in ("base", "api"))
API_MODULES = ("drawing_classifier",)
# The public API: modules of stic_tf/ that stand on top of all folders.
TOP_MODULES = ("__init__", "loading", "provenance")
SCRIPTS = ("trainers", "export", "serving", "benchmarks")
# What the client is made of, which runs without TensorFlow and uses a few base modules. The rest of serving/ is the
# server, which needs nothing of the library.
CLIENT_FILES = ("serving/client.py", "serving/drawing_client.py", "stic_tf/picture_file.py")
# What both use.
SHARED_FILES = ("serving/api_protos.py", "serving/tensor_protos.py")

ALLOWED["stic_tf"] = set(LAYERS)
ALLOWED["trainers"] = {*LAYERS, "stic_tf"}
ALLOWED["export"] = {*LAYERS, "stic_tf"}
ALLOWED["serving"] = {"base"}
ALLOWED["benchmarks"] = {*LAYERS, "stic_tf", "trainers", "export", "serving"}
ALLOWED["tests"] = {*LAYERS, "stic_tf", *SCRIPTS}

# What a file must not touch, by the start of its path.
FORBIDDEN = {
    "": ("tensorflow.python", "tensorflow.compat.v1", "keras.src"),
    "stic_tf/": ("absl", "argparse", "sys.argv"),
    "stic_tf/config.py": ("tensorflow", "keras"),
    "stic_tf/registries.py": ("tensorflow", "keras"),
    "stic_tf/mcmc/": ("keras", "tensorflow.keras", "tensorflow_addons"),
    # Of targets/ it takes the denoising step alone.
    "stic_tf/diffusion/": ("keras", "tensorflow.keras", "tensorflow_addons",
                           *(f"stic_tf.targets.{name}" for name in ("class_grams", "density", "energies"))),
    "stic_tf/targets/": ("keras", "tensorflow.keras", "tensorflow_addons"),
}
FORBIDDEN.update({path: ("tensorflow", "tensorflow_serving", "keras", "absl", "tqdm")
                  for path in (*CLIENT_FILES, *SHARED_FILES)})
# The one file that may reach into TensorFlow's private and v1 parts.
PRIVATE_TENSORFLOW_FILES = ("serving/session_runner.py",)
# And the one test helper that loads a model as a v1 session does, to compare.
V1_TEST_FILE = "tests/export/v1_session.py"

LINES_AT_MOST = 400
LINES_AT_MOST_IN = {"trainers/main.py": 70}


def sources():
  """Paths, relative to the checkout, of every Python file of the project."""
  for folder in ("stic_tf", *SCRIPTS, "tests"):
    for path in sorted((ROOT / folder).rglob("*.py")):
      yield path.relative_to(ROOT).as_posix()


def layer_of_file(path: str):
  """stic_tf/networks/build.py -> networks, stic_tf/config.py -> base, trainers/main.py -> trainers; None: no place."""
  parts = pathlib.PurePosixPath(path).with_suffix("").parts
  if parts[0] != "stic_tf":
    return parts[0]
  if len(parts) == 2:
    return "stic_tf" if parts[1] in TOP_MODULES else "api" if parts[1] in API_MODULES else "base"
  return parts[1] if parts[1] in FOLDERS else None


def layer_of_module(name: str):
  """stic_tf.networks.build -> networks, stic_tf.config -> base, stic_tf.load -> stic_tf; None for what is not ours."""
  parts = name.split(".")
  if parts[0] != "stic_tf":
    return parts[0] if parts[0] in (*SCRIPTS, "tests") else None
  if len(parts) > 1 and parts[1] in FOLDERS:
    return parts[1]
  if len(parts) > 1 and parts[1] in API_MODULES:
    return "api"
  is_base = len(parts) > 1 and parts[1] not in TOP_MODULES and (ROOT / "stic_tf" / f"{parts[1]}.py").is_file()
  return "base" if is_base else "stic_tf"


def _dotted(node):
  """The text of a chain of attributes ("tf.compat.v1"), None for anything else."""
  if isinstance(node, ast.Name):
    return node.id
  if isinstance(node, ast.Attribute):
    front = _dotted(node.value)
    return front and f"{front}.{node.attr}"
  return None


def imports(path: str, tree: ast.AST):
  """Yields (line, full module name, alias or None) of each import, relative and by-name ones included."""
  package = pathlib.PurePosixPath(path).parent.parts
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield node.lineno, alias.name, alias.asname
    elif isinstance(node, ast.ImportFrom):
      front = list(package[:len(package) - node.level + 1]) if node.level else []
      front += [node.module] if node.module else []
      for alias in node.names:
        yield node.lineno, ".".join([*front, alias.name]), alias.asname or alias.name
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
      called = _dotted(node.func) or ""
      if called.split(".")[-1] in ("import_module", "__import__") and isinstance(node.args[0].value, str):
        yield node.lineno, node.args[0].value, None


def uses(path: str, tree: ast.AST):
  """Yields (line, full name) of each import and each attribute chain, tf.io as tensorflow.io where tf is tensorflow."""
  meaning = {}
  for line, name, alias in imports(path, tree):
    if alias:
      meaning[alias] = name
    yield line, name
  for node in ast.walk(tree):
    name = _dotted(node) if isinstance(node, ast.Attribute) else None
    if name:
      first, _, rest = name.partition(".")
      yield node.lineno, f"{meaning.get(first, first)}.{rest}"


def _is_in(name: str, module: str) -> bool:
  return name == module or name.startswith(module + ".")


def import_complaints(path: str, source: str):
  """What the source may not import or touch, one line each; empty for a file that keeps the rules."""
  tree = ast.parse(source)
  layer = layer_of_file(path)
  if layer is None:
    return [f"{path}: the layout has no such folder; LAYERS names them"]
  found = set()
  for line, name, _ in imports(path, tree):
    target = layer_of_module(name)
    if target not in (None, layer) and target not in ALLOWED[layer]:
      found.add((line, f"{layer} may not import {target} ({name})"))
    elif layer == "serving" and target == "base" and path not in CLIENT_FILES:
      found.add((line, f"the server may not import {target} ({name})"))
  for start, modules in FORBIDDEN.items():
    if not path.startswith(start) or (not start and path in (*PRIVATE_TENSORFLOW_FILES, V1_TEST_FILE)):
      continue
    for line, name in uses(path, tree):
      found.update((line, f"{start or 'this file'} may not use {module}") for module in modules if _is_in(name, module))
  for node in ast.walk(tree):
    if path.startswith("stic_tf/") and isinstance(node, ast.Name) and node.id == "FLAGS":
      found.add((node.lineno, "stic_tf/ may not use FLAGS"))
  return [f"{path}:{line}: {text}" for line, text in sorted(found)]


def file_complaints(path: str, source: str):
  """The rules on names, lengths and indentation, as import_complaints."""
  found = []
  if pathlib.PurePosixPath(path).name == "utils.py":
    found.append(f"{path}: a file is named after what it does")
  lines, most = source.count("\n"), LINES_AT_MOST_IN.get(path, LINES_AT_MOST)
  if lines > most:
    found.append(f"{path}: {lines} lines, at most {most}")
  depth = [0]
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    if token.type == tokenize.INDENT:
      depth.append(len(token.string))
      if depth[-1] != depth[-2] + 2:
        found.append(f"{path}:{token.start[0]}: indent by two spaces")
        break
    elif token.type == tokenize.DEDENT:
      depth.pop()
  return found


def test_imports_follow_the_layout():
  complaints = [text for path in sources() for text in import_complaints(path, (ROOT / path).read_text())]
  assert not complaints, "\n".join(complaints)


def test_files_keep_the_house_rules():
  complaints = [text for path in sources() for text in file_complaints(path, (ROOT / path).read_text())]
  assert not complaints, "\n".join(complaints)
  assert len(PRIVATE_TENSORFLOW_FILES) <= 1


@pytest.mark.parametrize("path, source, complaint", [
    ("stic_tf/grid.py", "from stic_tf.datasets import catalog", "base may not import datasets"),
    ("stic_tf/grid.py", "from stic_tf import loading", "base may not import stic_tf"),
    ("stic_tf/datasets/x.py", "from stic_tf.networks import build", "datasets may not import networks"),
    ("stic_tf/datasets/x.py", "from stic_tf import config, metrics", "datasets may not import metrics"),
    ("stic_tf/datasets/x.py", "from ..mcmc import run", "datasets may not import mcmc"),
    ("stic_tf/datasets/x.py", "from .. import mcmc", "datasets may not import mcmc"),
    ("stic_tf/networks/x.py", "def late():\n  import stic_tf.metrics.frechet", "networks may not import metrics"),
    ("stic_tf/networks/x.py", "importlib.import_module('stic_tf.metrics')", "networks may not import metrics"),
    ("stic_tf/mcmc/x.py", "import stic_tf.networks as networks", "mcmc may not import networks"),
    ("stic_tf/diffusion/x.py", "from stic_tf.targets import density", "may not use stic_tf.targets.density"),
    ("stic_tf/systems/x.py", "import stic_tf", "systems may not import stic_tf"),
    ("stic_tf/systems/x.py", "from stic_tf.metrics import frechet", "systems may not import metrics"),
    ("stic_tf/metrics/x.py", "from stic_tf import load", "metrics may not import stic_tf"),
    ("stic_tf/metrics/x.py", "from trainers import flags", "metrics may not import trainers"),
    ("stic_tf/drawing_classifier.py", "from stic_tf.systems import base", "api may not import systems"),
    ("stic_tf/loading.py", "from export import client", "stic_tf may not import export"),
    ("trainers/x.py", "from export import warmup", "trainers may not import export"),
    ("export/x.py", "import trainers.checkpointing", "export may not import trainers"),
    ("export/x.py", "from tests import goldens", "export may not import tests"),
    ("export/x.py", "from serving import client", "export may not import serving"),
    ("serving/client.py", "from export import warmup", "serving may not import export"),
    ("serving/client.py", "import stic_tf", "serving may not import stic_tf"),
    ("serving/client.py", "from tensorflow_serving.apis import predict_pb2", "may not use tensorflow_serving"),
    ("serving/x.py", "from stic_tf import config", "the server may not import base"),
    ("stic_tf/drawings/x.py", "", "the layout has no such folder"),
    ("stic_tf/config.py", "import tensorflow as tf", "may not use tensorflow"),
    ("stic_tf/mcmc/x.py", "import tensorflow as tf\ntf.keras.Model()", "may not use tensorflow.keras"),
    ("stic_tf/mcmc/x.py", "from tensorflow import keras", "may not use tensorflow.keras"),
    ("stic_tf/networks/x.py", "from absl import flags", "may not use absl"),
    ("stic_tf/networks/x.py", "def width():\n  return FLAGS.width", "may not use FLAGS"),
    ("stic_tf/networks/x.py", "import sys\nname = sys.argv[1]", "may not use sys.argv"),
    ("stic_tf/networks/x.py", "from tensorflow.python.ops import nn", "may not use tensorflow.python"),
    ("serving/x.py", "import tensorflow.compat.v1 as tf1", "may not use tensorflow.compat.v1"),
    ("trainers/x.py", "import tensorflow as tf\ntf.compat.v1.Session()", "may not use tensorflow.compat.v1"),
])
def test_a_wrong_import_is_found(path, source, complaint):
  assert any(complaint in text for text in import_complaints(path, source))


@pytest.mark.parametrize("path, source", [
    ("stic_tf/grid.py", "from stic_tf import config\nimport tensorflow as tf"),
    ("stic_tf/systems/x.py", "from stic_tf import config, networks\nfrom . import base"),
    ("stic_tf/systems/x.py", "import stic_tf.mcmc.mala"),
    ("stic_tf/mcmc/x.py", "import tensorflow as tf\nfrom stic_tf.mcmc import mala\ntf.math.log(1.0)"),
    ("stic_tf/__init__.py", "from stic_tf.loading import load"),
    ("serving/client.py", "from stic_tf import config\nfrom serving import drawing_client"),
    ("trainers/x.py", "from absl import flags\nimport stic_tf\nfrom trainers import run_folder\nflags.FLAGS"),
])
def test_a_right_import_is_not(path, source):
  assert not import_complaints(path, source)


@pytest.mark.parametrize("path, source, complaint", [
    ("stic_tf/networks/utils.py", "", "named after what it does"),
    ("stic_tf/networks/x.py", "pass\n" * 401, "401 lines, at most 400"),
    ("trainers/main.py", "pass\n" * 71, "71 lines, at most 70"),
    ("stic_tf/networks/x.py", "def width():\n    return 1\n", "x.py:2: indent by two spaces"),
])
def test_a_broken_house_rule_is_found(path, source, complaint):
  assert any(complaint in text for text in file_complaints(path, source))
  assert not file_complaints("stic_tf/networks/x.py", "def width():\n  if True:\n    return 1\n" + "pass\n" * 397)


def build_rules(package: str, text: str):
  """{(rule, name): set of full labels in deps} of a BUILD file, whose calls are Python's and so is the parser."""
  rules = {}
  for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    if _dotted(call.func) in ("py_library", "pytest_folder"):
      labels = ast.literal_eval(arguments["deps"]) if "deps" in arguments else []
      rules[_dotted(call.func), ast.literal_eval(arguments["name"])] = {_full_label(package, label) for label in labels}
  return rules


def _full_label(package: str, label: str) -> str:
  label = f"//{package}{label}" if label.startswith(":") else label
  return label if ":" in label else f"{label}:{label.split('/')[-1]}"


def label_of_layer(layer: str) -> str:
  """ "networks" -> "//stic_tf/networks:networks"."""
  if layer in ("base", "api", "stic_tf"):
    return f"//stic_tf:{layer}"
  return f"//{'stic_tf/' if layer in FOLDERS else ''}{layer}:{layer}"


def dependency_complaints(layer: str, text: str):
  """How the deps of a layer's target differ from the arrows of ALLOWED."""
  package, name = label_of_layer(layer)[2:].split(":")
  stated = build_rules(package, text).get(("py_library", name))
  wanted = {label_of_layer(other) for other in ALLOWED[layer]}
  if stated is None:
    return [f"{package}/BUILD: no py_library named {name}"]
  return [f"{package}/BUILD: {name} lacks {label}" for label in sorted(wanted - stated)] + [
      f"{package}/BUILD: {name} may not depend on {label}" for label in sorted(stated - wanted)]


@pytest.mark.parametrize("layer", [layer for layer in ALLOWED if layer != "tests"])
def test_build_files_state_the_same_arrows(layer):
  package = label_of_layer(layer)[2:].split(":")[0]
  assert not dependency_complaints(layer, (ROOT / package / "BUILD").read_text())


def test_every_folder_has_a_build_file():
  folders = {str(pathlib.PurePosixPath(path).parent) for path in sources()}
  assert not [folder for folder in sorted(folders) if not (ROOT / folder / "BUILD").is_file()]


# GRMALA is a kernel on a density; a user's way with a system ends in an export; a Gaussian is fitted to moments.
_OF_SYSTEMS = {f"//{name}:{name}" for name in ("benchmarks", "export", "stic_tf")}
FURTHER_TEST_DEPS = {"mcmc": {"//stic_tf/targets:targets"}, "systems": _OF_SYSTEMS,
                     "networks": {"//stic_tf/preconditioners:preconditioners"}}


@pytest.mark.parametrize("layer", FOLDERS)
def test_a_folder_is_tested_with_its_own_target_only(layer):
  # Then the sandbox holds what the layer may import and nothing else.
  needs = {label_of_layer(layer), "//tests:support", *FURTHER_TEST_DEPS.get(layer, ())}
  assert build_rules(f"tests/{layer}", (ROOT / f"tests/{layer}/BUILD").read_text()) == {("pytest_folder", layer): needs}


def test_a_wrong_dependency_is_found():
  text = 'py_library(name = "networks", deps = ["//stic_tf/datasets", "//stic_tf/metrics"])'
  assert dependency_complaints("networks", text) == [
      "stic_tf/networks/BUILD: networks lacks //stic_tf:base",
      "stic_tf/networks/BUILD: networks may not depend on //stic_tf/metrics:metrics",
  ]
  assert dependency_complaints("networks", "") == ["stic_tf/networks/BUILD: no py_library named networks"]


# ---- no dispatch on kind ----

PARTS = (registries.SYSTEMS, registries.NETWORKS, registries.KERNELS, registries.SOLVERS, registries.GAUSSIANS)
TARGETS = [entry.target.split(":") for registry in PARTS for entry in registry.values()]
# A part is found in a registry and asked by its interface, and only its own file may know what it is.
OWN_FILES = {module.replace(".", "/") + ".py" for module, _ in TARGETS}
# JEM's SGLD and its coordinates go together, GRMALA and strokes, a corrector and no predictor: rules about pairs of
# settings, in the one place where settings are checked.
PAIRS_OF_SETTINGS = {"stic_tf/config.py": {"jem_sgld", "grmala", "none"}}
OUR_CLASSES = {name for _, name in TARGETS} | {
    "System", "Kernel", "Solver", "Drawer", "EnergyPrecond", "Strokes", "WholeImages", "Annealing", "AnnealedStrokes"}
NAMES = {name for registry in PARTS for name in registry} | OUR_CLASSES


def _last_name(node) -> str:
  return (_dotted(node) or "").split(".")[-1]


def dispatch_complaints(path: str, source: str):
  """Where a source of the joining layer asks for the kind of a part: by class, or by comparing with a name of one."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    compared, classes = [], []
    if isinstance(node, ast.Compare):
      compared = classes = [node.left, *node.comparators]
      if {"model", "kind"} & {_last_name(side) for side in compared} and not (
          isinstance(node.ops[0], (ast.Is, ast.IsNot)) or _dotted(compared[-1]) == "registries.SYSTEMS"):
        found.add((node.lineno, "asks which model it is"))
    elif isinstance(node, ast.Call) and _last_name(node.func) in ("isinstance", "issubclass"):
      classes = node.args[1:]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      compared = node.args if node.func.attr in ("startswith", "endswith") else [node.func.value]
    elif isinstance(node, ast.Subscript):
      compared = [node.value]  # of a dictionary that is written out there
    found.update((node.lineno, f"compares with the name {part.value}") for side in compared for part in ast.walk(side)
                 if isinstance(part, ast.Constant) and part.value in NAMES - PAIRS_OF_SETTINGS.get(path, set()))
    found.update((node.lineno, f"asks for the class {_last_name(part)}") for side in classes for part in ast.walk(side)
                 if _last_name(part) in OUR_CLASSES)
  return [f"{path}:{line}: {text}" for line, text in sorted(found)]


def test_nothing_asks_which_system_it_is():
  joining = {path for path in sources() if path.startswith(("stic_tf/", "trainers/", "export/"))} - OWN_FILES
  complaints = [text for path in sorted(joining) for text in dispatch_complaints(path, (ROOT / path).read_text())]
  assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("source", [
    "if isinstance(system, ScoreSTIC): pass", "if isinstance(network, (a.B, precond.EnergyPrecond)): pass",
    "if type(system) is score.ScoreSTIC: pass", "if type(system).__name__ == 'STIC': pass",
    "if config.model == name: pass", "if self.system.kind != other: pass", "grid = 4 if name == 'attentive' else 0",
    "if config.model in ('stic', 'attentive'): pass", "if 'heun' == predictor: pass", "if model not in kinds: pass",
    "if predictor != 'none': pass", "if name.startswith('score'): pass", "draw = {'stic': a, 'score': b}[name]",
    "draw = {'stic': a}.get(name)",
])
def test_a_dispatch_on_kind_is_found(source):
  assert dispatch_complaints("trainers/x.py", source)


def test_what_is_no_dispatch_is_not():
  source = "if isinstance(x, tf.Tensor) and name == 'auto' and model in registries.SYSTEMS: load('score', {'stic': 1})"
  assert not dispatch_complaints("trainers/x.py", source)
