"""The torch module of a finished run, to serve it elsewhere (models/export.py) or to look into it."""

from common.config import ConfigError
from common.files import existing
from common.members.neural import NeuralMember
from common.run import Run
from competitions.launch import configured
from models.heads import Head


def trained_head(contest: str, run: str = "default", only: str = "") -> Head:
    """The head of one unit, with its encoder, in evaluation mode: on the GPU where there is one.

    contest: its folder's name. run: a finished run's name or folder. only: MEMBER/fold-0/seed-1, or the start of such a
    name; the first unit of a neural member when empty.
    Raises ConfigError when no unit that is meant has a torch module, DataError when the run or the unit is not there.
    """
    settings = configured(contest, [], [f"run={run}"], "predict")
    finished = Run(settings)
    for unit in finished.units(only):
        member = settings.build_member(unit.member, unit.seed)
        if isinstance(member, NeuralMember):
            folder = finished.unit_folder(unit)
            existing(folder / "unit.json", "a unit that is finished", "train it first")
            return member.restore(folder).model
    raise ConfigError(f"{finished.folder}: {only or 'no member'} is without a torch module; expected a neural member")
