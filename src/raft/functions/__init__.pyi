from .fixed_gain import FixedGainRational, set_gain
from .found import library, load_functions, save_functions
from .parametric import ParametricActivation
from .poly_norm import PolyNorm
from .prelu import PReLU
from .registry import FUNCTIONS, LearnedActivation, make
from .spline import Spline
from .swish import Swish
from .xielu import XIELU

__all__ = [
    "FUNCTIONS",
    "XIELU",
    "FixedGainRational",
    "LearnedActivation",
    "PReLU",
    "ParametricActivation",
    "PolyNorm",
    "Spline",
    "Swish",
    "library",
    "load_functions",
    "make",
    "save_functions",
    "set_gain",
]
