"""Deep networks in low precision, on PyTorch."""

from . import transforms as transforms
from .batches import Batches as Batches
from .images import ImageSet as ImageSet
from .images import channel_statistics as channel_statistics
from .images import load_images as load_images
from .text import Text as Text
from .text import load_text as load_text
from .text import text_batches as text_batches
