"""The experiments of claims.py: arms, as flags of the trainers after the experiment's, and what they are to show."""

from typing import Dict, Iterable, List, NamedTuple, Sequence

from benchmarks.verdicts import Claim

# Of seeds 100 and 101, 100 labels: by --loss=contrastive fakes cost accuracy on validation images, at weight 1 and .1;
# by --loss=logistic they did not, and validation did not tell these weights apart.
_DESIGN = ["--noisy_weight=1", "--loss=logistic", "--fake_weight=0.1"]
# digits_jem.flags says what is JEM's; learning rate and chains are for E5 to choose. At 3e-3 with 300 chains its first
# run diverged for good.
_JEM = ["--sampler=jem_sgld", "--preconditioner=pixels", "--reference=flat", "--noise_start=0.03", "--noise_end=0.03",
        "--energy_decay=0", "--soft_fraction=0", "--past_fraction=0", "--fakes_from=current"]
_JEM_GRID = {f"lr{rate}_chains{chains}": (f"JEM, learning rate {rate}, {chains} chains",
                                          [*_JEM, f"--learning_rate={rate}", f"--chains={chains}"])
             for rate in ("1e-4", "3e-4", "1e-3") for chains in (300, 10000)}
_JEM_PAPER = "lr1e-4_chains10000"
# By E5_few, seeds 100 and 101: the most accurate on validation images of those that were never rolled back (at 1e-3 one
# of two runs was, and then, on a new seed, five times). On new seeds it was not steady either, so that its paper's rate
# stands beside it.
_JEM_TUNED, _JEM_STEADY = "lr3e-4_chains300", "lr1e-4_chains300"
# The clean images and updates of these are equal, but for "A_long" and "A_wall". By the seconds of E1_rivals' runs
# (seeds 20 to 24; A_wall 143 to 219, E 84 to 140, F 109 to 144) "A_wall" has more time than "F".
_ARMS = {
    "A": ("no fakes", ["--fakes_from=none"]),
    "A_long": ("no fakes, six times the updates", ["--fakes_from=none", "--updates_per_pass=600"]),
    "A_wall": ("no fakes, at least as much time as F", ["--fakes_from=none", "--updates_per_pass=1200"]),
    "B": ("no fakes, noisy real images classified", ["--fakes_from=none", "--noisy_weight=1"]),
    "C": ("B, and fakes that are draws from the blank canvas", ["--model=canvas_fakes", *_DESIGN]),
    "D": ("B, and drawings of pass 0, frozen", ["--model=frozen_fakes", "--fakes_from=previous_pass", *_DESIGN]),
    "E": ("B, and drawings of the pass before", ["--fakes_from=previous_pass", *_DESIGN]),
    "F": ("B, and chains on the current network", ["--fakes_from=current", *_DESIGN]),
    "E_contrastive": ("as E, by the contrastive loss at weight 1", ["--fakes_from=previous_pass", "--noisy_weight=1"]),
}
_RIVALS = {
    **{name: _ARMS[name] for name in ("A", "A_long", "A_wall", "B", "D", "E", "F")},
    "JEM": ("JEM's SGLD, its learning rate and chains chosen on validation images", _JEM_GRID[_JEM_TUNED][1]),
    "JEM_slow": ("the same at the learning rate of its paper", _JEM_GRID[_JEM_STEADY][1])}
_SHORT = ["--num_passes=6", "--updates_per_pass=100", "--chains=300", "--num_samples=200", "--pass_samples=20",
          "--pass_steps=1"]


_RECURRENCE = (
    Claim("Noise on labelled images helps accuracy", "test_accuracy", "B", "A", 1),
    Claim("Self-analysis on the pass before helps accuracy, against noise alone", "test_accuracy", "E", "B", 1),
    Claim("The same by the contrastive loss at weight 1", "test_accuracy", "E_contrastive", "B", 1),
    Claim("Self-analysis on the pass before helps accuracy, against six times the updates without fakes",
          "test_accuracy", "E", "A_long", 1),
    Claim("Fakes that are draws of the blank canvas help accuracy, against noise alone", "test_accuracy", "C", "B", 1),
    Claim("The network's own drawings help accuracy, against draws of the blank canvas", "test_accuracy", "D", "C", 1),
    Claim("Self-analysis on the pass before helps accuracy, against draws of the blank canvas", "test_accuracy", "E",
          "C", 1),
    Claim("Self-analysis on the pass before lowers FID, against draws of the blank canvas", "fid", "E", "C", -1),
    Claim("Recurrence: drawings of the pass before help accuracy, against those of pass 0", "test_accuracy", "E", "D",
          1),
    Claim("Current chains help accuracy, against drawings of the pass before", "test_accuracy", "F", "E", 1),
    Claim("Self-analysis on current chains helps accuracy, against noise alone", "test_accuracy", "F", "B", 1),
    Claim("Self-analysis on the pass before lowers the calibration error, against noise alone", "ece", "E", "B", -1),
    Claim("Self-analysis on the pass before lowers FID, against noise alone", "fid", "E", "B", -1),
)
_EQUAL = tuple(
    Claim(f"Self-analysis on {of} helps {name}, against {how} without fakes", figure, arm, than, sign)
    for of, arm in (("the pass before", "E"), ("current chains", "F"))
    for than, how in (("A", "equal updates"), ("A_wall", "as much time or more"))
    for name, figure, sign in (("accuracy", "test_accuracy", 1), ("calibration", "ece", -1), ("FID", "fid", -1)))
_JEMS = (("JEM", "tuned"), ("JEM_slow", "at its paper's rate"))
_AGAINST_RIVALS = (
    *(Claim(f"Noise on labelled images helps accuracy, against JEM, {how}", "test_accuracy", "B", jem, 1)
      for jem, how in _JEMS),
    Claim("Self-analysis on current chains helps accuracy, against six times the updates without fakes",
          "test_accuracy", "F", "A_long", 1),
    *(Claim(f"Self-analysis on {of} against JEM, {how}: {name}", figure, arm, jem, sign)
      for jem, how in _JEMS for of, arm in (("the pass before", "E"), ("current chains", "F"))
      for name, figure, sign in (("accuracy", "test_accuracy", 1), ("calibration error", "ece", -1),
                                 ("FID", "fid", -1))))

_PASSES = tuple(
    Claim(text + f": {name}", figure, better, than, sign)
    for text, better, than in (("Ten passes instead of one, whose fakes stay in the pool", "ten", "one"),
                               ("In ten passes, drawings of the pass before instead of current chains", "ten_previous",
                                "ten"))
    for name, figure, sign in (("accuracy", "test_accuracy", 1), ("FID", "fid", -1)))
_PRECONDITIONER = tuple(
    Claim(f"The Gram matrix against M = I: {name}", figure, "gram", "identity", sign) for name, figure, sign in (
        ("independent draws a step", "effective_draws_per_step", 1), ("accuracy", "test_accuracy", 1),
        ("FID", "fid", -1)))
_METROPOLIS = tuple(
    Claim(f"Trained and drawn with the accept test against without: {name}", figure, "adjusted", "unadjusted", sign)
    for name, figure, sign in (("accuracy", "test_accuracy", 1), ("FID", "fid", -1)))
_OBJECTIVE = tuple(
    Claim(f"JEM by log Σ exp f, its own objective, against STIC's of each class, learning rate {rate}: {name}", figure,
          f"sum_{rate}", f"class_{rate}", sign)
    for rate in ("1e-4", "3e-4")
    for name, figure, sign in (("accuracy", "test_accuracy", 1), ("calibration error", "ece", -1), ("FID", "fid", -1)))
_INTERPOLATION = tuple(
    Claim(f"Soft fakes help interpolation: {text}", figure, "soft", "hard", sign) for text, figure, sign in (
        ("drawings between two classes are one of the two", "path_pair", 1),
        ("paths reach both classes", "path_both", 1),
        ("paths go from one to the other", "path_order", 1)))
_DRAWN = (("FID", "fid", -1), ("CAS", "cas", 1), ("recall", "recall", 1))
_SCORE = (
    *(Claim(f"Score-STIC, drawings corrected by what a head has learnt of fakes: {name}", figure, "corrected", "none",
            sign) for name, figure, sign in _DRAWN),
    *(Claim(f"Score-STIC against STIC, as the flagfiles stand and not at equal images: {name}", figure, "none", "stic",
            sign) for name, figure, sign in (("accuracy", "test_accuracy", 1), ("log loss", "nll", -1), *_DRAWN)))

_LESSONS = {
    "none": ("Score-STIC without fakes", ["--fakes_from=none"]),
    "negatives": ("fakes are negatives of the energies where there is little noise",
                  ["--model=negatives", "--fakes_from=previous_pass"]),
    "class_of_fakes": ("fakes are class K + 1", ["--model=class_of_fakes", "--fakes_from=previous_pass"])}
_HEAD = {"none": ("Score-STIC without fakes", ["--fakes_from=none"]),
         "head": ("then a pass in which the head alone learns, of drawings of what stands still, and corrects them",
                  ["--fakes_from=previous_pass", "--num_passes=7", "--head_passes=1", "--correction=0.5",
                   "--correction_to=1"])}
_OF_HEAD = tuple(
    Claim(f"Score-STIC, a head that learns alone at the end corrects the drawings, against no fakes: {name}", figure,
          "head", "none", sign) for name, figure, sign in (*_DRAWN, ("accuracy", "test_accuracy", 1)))
_OF_LESSONS = tuple(
    Claim(f"Score-STIC, {arm.replace('_', ' ')} against no fakes: {name}", figure, arm, "none", sign)
    for arm in ("negatives", "class_of_fakes")
    for name, figure, sign in (("accuracy", "test_accuracy", 1), ("calibration error", "ece", -1), *_DRAWN))

# One setting at a time, beside digits.flags.
_SETTINGS = {
    "flagfile": ("digits.flags as it stands", []),
    "no_past": ("no fakes of past passes", ["--past_fraction=0"]),
    "much_past": ("three times as many", ["--past_fraction=0.3"]),
    "few_chains": ("300 chains for 1000", ["--chains=300"]),
    "seldom": ("a chain begins anew five times less often", ["--restart_probability=0.01"]),
    "often": ("four times as often", ["--restart_probability=0.2"]),
    "sharper": ("s falls to .15", ["--noise_end=0.15"]),
    "smoother": ("s falls to .35", ["--noise_end=0.35"]),
    "previous": ("drawings of the pass before", ["--fakes_from=previous_pass"]),
    "noisy": ("noisy real images classified, logistic loss at weight .1", _DESIGN)}
_OF_SETTINGS = tuple(Claim(f"{what}, instead of what digits.flags has: {name} of validation images", figure, arm,
                           "flagfile", sign)
                     for arm, (what, _) in _SETTINGS.items() if arm != "flagfile"
                     for name, figure, sign in (("accuracy", "validation_accuracy", 1), ("FID", "validation_fid", -1)))


def _of(arms: Iterable[str], claims: Sequence[Claim]) -> List[Claim]:
  """Those of claims that an experiment of fewer arms can judge."""
  return [claim for claim in claims if {claim.better, claim.than} <= set(arms)]


def _flagfile(name: str) -> str:
  return f"--flagfile=trainers/flagfiles/{name}.flags"


class Experiment(NamedTuple):
  """What is trained, and what it is to show."""

  flags: Sequence[str]
  arms: Dict[str, tuple]
  claims: Sequence[Claim]

  def claims_about(self, arms: Sequence[str]) -> List[Claim]:
    """The claims that compare two of these arms."""
    return _of(arms, self.claims)


EXPERIMENTS = {
    **{f"E1_{name}": Experiment([_flagfile(flagfile), *_SHORT, *more], _ARMS, _RECURRENCE)
       for name, flagfile, more in (("few", "digits", ["--train_images=100"]), ("digits", "digits", []),
                                    ("mnist100", "mnist", ["--train_images=100"]),
                                    ("mnist1000", "mnist", ["--train_images=1000"]))},
    # With seeds of its own (20 to 24), to confirm what E1_few found.
    "E1_rivals": Experiment([_flagfile("digits"), *_SHORT, "--train_images=100"], _RIVALS,
                            [*_of(_RIVALS, _RECURRENCE), *_EQUAL, *_AGAINST_RIVALS]),
    # One question, with as many seeds as the differences of those before say it takes (30 to 49).
    "E1_recurrence": Experiment([_flagfile("digits"), *_SHORT, "--train_images=100"],
                                {name: _ARMS[name] for name in ("B", "C", "D", "E")},
                                _of(("B", "C", "D", "E"), _RECURRENCE)),
    # Noise and learning rate are held, so that passes differ by their fakes alone. Without --past_fraction, "ten" would
    # be "one"; "ten_previous" has no fakes in its first 60 updates.
    "E2": Experiment([_flagfile("digits"), *_SHORT, *_DESIGN, "--noise_start=0.3", "--noise_end=0.3",
                      "--learning_rate_end=1"], {
        "one": ("600 updates in a pass", ["--fakes_from=current", "--num_passes=1", "--updates_per_pass=600"]),
        "ten": ("600 updates in ten", ["--fakes_from=current", "--num_passes=10", "--updates_per_pass=60"]),
        "ten_previous": ("ten, drawings of the pass before", ["--fakes_from=previous_pass", "--num_passes=10",
                                                              "--updates_per_pass=60"])}, _PASSES),
    # q0 is the images' Gaussian in both, so the density of one network is the same.
    **{f"E3_{name}": Experiment([_flagfile(name), *_SHORT, "--fakes_from=current", *_DESIGN, *more], {
        "gram": ("M = the Gram matrix of the images", ["--preconditioner=gram"]),
        "identity": ("M = I", ["--preconditioner=identity"])}, _PRECONDITIONER)
       for name, more in (("digits", []), ("mnist", ["--train_images=1000", "--num_passes=2"]))},
    # Drawings of these with and without the accept test, at several h: solvers.py.
    "E4": Experiment([_flagfile("digits"), *_SHORT, "--fakes_from=current", *_DESIGN], {
        "adjusted": ("trained with the accept test", ["--sampler=grmala"]),
        "unadjusted": ("trained without it, at the h it begins with", ["--sampler=unadjusted"])}, _METROPOLIS),
    "E7": Experiment([_flagfile("digits"), *_SHORT, "--fakes_from=current", *_DESIGN], {
        "hard": ("fakes of one class each", ["--soft_fraction=0"]),
        "soft": ("a quarter of the fakes of two classes", ["--soft_fraction=0.25"])}, _INTERPOLATION),
    # To be run with seeds of its own (--seeds=100,101): the highest mean on validation images is the rival.
    **{f"E5{name}": Experiment([_flagfile("digits"), *_SHORT, *more], _JEM_GRID, tuple(
        Claim(f"{what}, instead of what its paper has", "validation_accuracy", arm, _JEM_PAPER, 1)
        for arm, (what, _) in _JEM_GRID.items() if arm != _JEM_PAPER))
       for name, more in (("", []), ("_few", ["--train_images=100"]))},
    "E5_objective": Experiment([_flagfile("digits"), *_SHORT, "--train_images=100", *_JEM, "--chains=300"], {
        f"{name}_{rate}": (f"{what}, learning rate {rate}", [*more, f"--learning_rate={rate}"])
        for rate in ("1e-4", "3e-4") for name, what, more in (
            ("class", "JEM's SGLD in each class's density", []),
            ("sum", "in log Σ exp f, drawn by class", ["--model=log_sum_exp"]))}, _OBJECTIVE),
    # To choose the flagfile's settings by, on validation images, with seeds of their own (110 to 112).
    "defaults": Experiment([_flagfile("digits"), "--num_passes=6", "--updates_per_pass=100", "--num_samples=20",
                            "--num_steps=2"], _SETTINGS, _OF_SETTINGS),
    "E9_designs": Experiment([_flagfile("digits_score"), "--num_passes=6", "--updates_per_pass=100",
                              "--pass_samples=0"], _LESSONS, _OF_LESSONS),
    # Whole flagfiles, seeds that have chosen nothing (60 to 64).
    "E9_head": Experiment([_flagfile("digits_score"), "--pass_samples=0"], _HEAD, _OF_HEAD),
    "E9_few": Experiment([_flagfile("digits_score"), "--num_passes=4", "--updates_per_pass=200", "--train_images=100",
                          "--cross_entropy_weight=0.4", "--mixup_weight=1.2", "--pass_samples=0", "--num_samples=200"],
                         _LESSONS, _OF_LESSONS),
    # Whole flagfiles. The head's loss reaches nothing but the head.
    "E9": Experiment([], {
        "none": ("Score-STIC without fakes", [_flagfile("digits_score"), "--fakes_from=none"]),
        "corrected": ("Score-STIC, a head learns real against drawings of the pass before and corrects its drawings",
                      [_flagfile("digits_score"), "--fakes_from=previous_pass", "--correction=1"]),
        "stic": ("STIC", [_flagfile("digits")])}, _SCORE),
}
