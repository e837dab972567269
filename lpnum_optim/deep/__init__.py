"""Deep networks in low precision, on PyTorch.

Optimizers whose weights or moments are codes (`HALP`, `LPSGD`, `LPSVRG`, `AdamW8bit`), precision assignments
(`PrecisionPlan`), saved activations as codes (`compressed_activations`), the data and networks to try them on.
Needs torch: ``pip install "lpnum[torch]"``.
"""

from . import _requirement as _requirement
from . import transforms as transforms
from .adam import Adam8bit as Adam8bit
from .adam import AdamW8bit as AdamW8bit
from .adam import state_bytes as state_bytes
from .batches import Batches as Batches
from .candidates import OCP as OCP
from .candidates import PAPER as PAPER
from .closures import closure as closure
from .closures import closures as closures
from .images import ImageSet as ImageSet
from .images import channel_statistics as channel_statistics
from .images import load_images as load_images
from .loss_scaling import LossScale as LossScale
from .memory import peak_memory as peak_memory
from .memory import resident_growth as resident_growth
from .operators import UntraceableError as UntraceableError
from .optimizers import HALP as HALP
from .optimizers import LPSGD as LPSGD
from .optimizers import LPSVRG as LPSVRG
from .optimizers import SGD as SGD
from .optimizers import SVRG as SVRG
from .plan import PrecisionPlan as PrecisionPlan
from .promotion import ErrorPromotion as ErrorPromotion
from .promotion import OverflowPromotion as OverflowPromotion
from .report import Report as Report
from .saved import compressed_activations as compressed_activations
from .text import Text as Text
from .text import load_text as load_text
from .text import text_batches as text_batches
